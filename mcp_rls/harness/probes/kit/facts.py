"""What the catalog says of the ways round: keys, views, functions, triggers, sequences, and who may use them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mcp_rls import sql
from mcp_rls.catalog import TableName
from mcp_rls.harness.stage import Stage
from mcp_rls.state import SCHEMA

# Schemas of users; ours is closed to every token.
_THEIRS = f"n.nspname !~ '^pg_' and n.nspname not in ('information_schema', {sql.literal(SCHEMA)})"


@dataclass(frozen=True)
class Unique:
    """A unique index or an exclusion constraint: what two rows of the table can't share."""

    table: TableName
    name: str
    columns: tuple[str, ...]  # those of its key, its expressions and its condition
    random: bool  # a single uuid that the database makes up
    plain: bool  # of columns alone, without a condition: INSERT can name it
    immediate: bool  # compared with every row, not at the end

    def __str__(self) -> str:
        return f"{self.table.schema}.{self.name}"


@dataclass(frozen=True)
class Reference:
    """A foreign key."""

    table: TableName
    name: str
    columns: tuple[str, ...]
    target: TableName
    referenced: tuple[str, ...]
    on_delete: str  # 'a' no action, 'r' restrict, 'c' cascade, 'n' set null, 'd' set default
    on_update: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True)
class Relation:
    """A view, a materialized view or a foreign table."""

    name: TableName
    kind: str  # 'v', 'm' or 'f'
    invoker: bool
    reads: frozenset[TableName]  # through other views too

    def __str__(self) -> str:
        return str(self.name)


@dataclass(frozen=True)
class Reached:
    """What a role may use of a relation: the columns that it may select, and whether it may write at all."""

    columns: tuple[str, ...] = ()
    written: bool = False


@dataclass(frozen=True)
class Routine:
    """A function or procedure outside PostgreSQL's own schemas and ours."""

    oid: int
    schema: str
    name: str
    procedure: bool
    definer: bool
    leakproof: bool
    harmless: bool  # STABLE or IMMUTABLE, in a language that is held to it
    arguments: tuple[tuple[str, str], ...]  # name and type of those that have to be given
    signature: str  # as PostgreSQL prints the argument types

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}({self.signature})"

    def called(self, arguments: str) -> str:
        return f"{sql.ident(self.schema)}.{sql.ident(self.name)}({arguments})"


@dataclass(frozen=True)
class Trigger:
    """A trigger, or a rule that does something else beside or instead."""

    table: TableName
    name: str
    definer: bool  # it acts as somebody else than who writes

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True)
class Sequence:
    name: TableName
    table: TableName | None = None  # which table's column it counts
    column: str = ""

    def __str__(self) -> str:
        return str(self.name)


_UNIQUES = f"""
select n.nspname, c.relname, x.relname, u.columns,
       cardinality(u.columns) = 1 and exists (
         select from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where a.attrelid = c.oid and a.attname = u.columns[1] and a.atttypid = 'uuid'::regtype),
       i.indexprs is null and i.indpred is null and i.indisunique, i.indimmediate
from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
join pg_class x on x.oid = i.indexrelid cross join lateral (
  select array_agg(a.attname::text order by a.attnum) as columns from pg_attribute a
  where a.attrelid = c.oid and a.attnum > 0 and (
    a.attnum in (select i.indkey[k] from generate_series(0, i.indnkeyatts - 1) k)
    or exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
               and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.refobjsubid = a.attnum
               and (i.indexprs is not null or i.indpred is not null)))) u
where (i.indisunique or i.indisexclusion) and i.indisvalid and c.relkind in ('r', 'p') and {_THEIRS}
order by 1, 2, i.indisprimary desc, 3
"""
_REFERENCES = f"""
select n.nspname, c.relname, k.conname, tn.nspname, t.relname, k.confdeltype::text, k.confupdtype::text,
       array(select a.attname::text from unnest(k.conkey) with ordinality x(number, place)
             join pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.number order by x.place),
       array(select a.attname::text from unnest(k.confkey) with ordinality x(number, place)
             join pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.number order by x.place)
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
join pg_class t on t.oid = k.confrelid join pg_namespace tn on tn.oid = t.relnamespace
where k.contype = 'f' and k.conparentid = 0 and {_THEIRS} order by 1, 2, 3
"""
_RELATIONS = f"""
with recursive direct as (
  select r.ev_class as relation, d.refobjid as reads from pg_rewrite r
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
  where d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class and r.ev_type = '1'
), through as (
  select * from direct union select t.relation, d.reads from through t join direct d on d.relation = t.reads
)
select n.nspname, c.relname, c.relkind::text,
       exists (select from pg_options_to_table(c.reloptions) o
               where o.option_name = 'security_invoker' and o.option_value::boolean),
       array(select array[rn.nspname::text, r.relname::text] from through t join pg_class r on r.oid = t.reads
             join pg_namespace rn on rn.oid = r.relnamespace where t.relation = c.oid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('v', 'm', 'f') and {_THEIRS} order by 1, 2
"""
_ROUTINES = f"""
select p.oid, n.nspname, p.proname, p.prokind = 'p', p.prosecdef, p.proleakproof,
       p.provolatile <> 'v' and l.lanname in ('sql', 'plpgsql'),
       array(select array[coalesce(p.proargnames[x.place], ''), format_type(x.type, null)]
             from unnest(p.proargtypes::oid[]) with ordinality x(type, place)
             where x.place <= p.pronargs - p.pronargdefaults order by x.place), oidvectortypes(p.proargtypes)
from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_language l on l.oid = p.prolang
where p.prokind in ('f', 'p') and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
  and (p.prosecdef or p.proleakproof) and {_THEIRS} order by 2, 3, 9
"""
_TRIGGERS = f"""
select n.nspname, c.relname, t.tgname, p.prosecdef from pg_trigger t join pg_proc p on p.oid = t.tgfoid
join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
where not t.tgisinternal and t.tgenabled <> 'D' and {_THEIRS}
union all
-- what a rule does is done with the rights of the table's owner
select n.nspname, c.relname, r.rulename, true from pg_rewrite r join pg_class c on c.oid = r.ev_class
join pg_namespace n on n.oid = c.relnamespace
where r.ev_type <> '1' and c.relkind in ('r', 'p') and r.ev_enabled <> 'D' and {_THEIRS}
order by 1, 2, 3
"""
_SEQUENCES = f"""
select n.nspname, c.relname, tn.nspname, t.relname, a.attname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
  and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0
left join pg_class t on t.oid = d.refobjid left join pg_namespace tn on tn.oid = t.relnamespace
left join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
where c.relkind = 'S' and {_THEIRS} order by 1, 2
"""
_REACHED = f"""
select n.nspname, c.relname,
       array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
             and not a.attisdropped and has_column_privilege({{role}}, c.oid, a.attnum, 'select') order by a.attnum),
       has_table_privilege({{role}}, c.oid, 'insert, update, delete')
         or has_any_column_privilege({{role}}, c.oid, 'insert, update')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('v', 'm', 'f') and has_schema_privilege({{role}}, n.oid, 'usage') and {_THEIRS}
"""
_CALLABLE = f"""
select p.oid from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where has_function_privilege({{role}}, p.oid, 'execute') and has_schema_privilege({{role}}, n.oid, 'usage')
  and (p.prosecdef or p.proleakproof) and {_THEIRS}
"""


class SchemaFacts:
    """The facts of one database, each kind read when it is first asked for."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._reached: dict[str, dict[TableName, Reached]] = {}
        self._callable: dict[str, frozenset[int]] = {}

    @cached_property
    def uniques(self) -> tuple[Unique, ...]:
        rows = self._stage.ask(_UNIQUES)
        return tuple(Unique(TableName(s, t), name, tuple(c), *rest) for s, t, name, c, *rest in rows)

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        rows = self._stage.ask(_REFERENCES)
        return tuple(
            Reference(TableName(s, t), name, tuple(c), TableName(ts, tt), tuple(r), on_delete, on_update)
            for s, t, name, ts, tt, on_delete, on_update, c, r in rows
        )

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        rows = self._stage.ask(_RELATIONS)
        return tuple(
            Relation(TableName(s, name), kind, invoker, frozenset(TableName(*pair) for pair in reads))
            for s, name, kind, invoker, reads in rows
        )

    @cached_property
    def routines(self) -> tuple[Routine, ...]:
        rows = self._stage.ask(_ROUTINES)
        return tuple(
            Routine(oid, s, name, procedure, definer, leakproof, harmless, tuple((a, t) for a, t in arguments), printed)
            for oid, s, name, procedure, definer, leakproof, harmless, arguments, printed in rows
        )

    @cached_property
    def triggers(self) -> tuple[Trigger, ...]:
        return tuple(Trigger(TableName(s, t), name, definer) for s, t, name, definer in self._stage.ask(_TRIGGERS))

    @cached_property
    def sequences(self) -> tuple[Sequence, ...]:
        rows = self._stage.ask(_SEQUENCES)
        return tuple(Sequence(TableName(s, n), TableName(ts, t) if t else None, c or "") for s, n, ts, t, c in rows)

    def reached(self, role: str, relation: Relation) -> Reached:
        """What of a view or the like the role may use."""
        if role not in self._reached:
            rows = self._stage.ask(_REACHED.format(role=sql.literal(role)))
            self._reached[role] = {
                TableName(s, name): Reached(tuple(columns), written) for s, name, columns, written in rows
            }
        return self._reached[role].get(relation.name, Reached())

    def callable(self, role: str, routine: Routine) -> bool:
        if role not in self._callable:
            rows = self._stage.ask(_CALLABLE.format(role=sql.literal(role)))
            self._callable[role] = frozenset(oid for (oid,) in rows)
        return routine.oid in self._callable[role]
