"""`columns` of update rules as triggers: what column grants can't do where clients share a database role.

What counts is what the statement names in SET, as for a grant: PostgreSQL itself keeps to that with `update of`, for
ON CONFLICT and MERGE, through views and on partitions, and no type needs an equality, nor does it matter what other
triggers make of the row. A statement trigger could be had for less, but of several updates in one query PostgreSQL
asks it of one alone.

- For each list a row trigger on the columns that are not in it. While a statement names none of them it isn't called;
  all that the rest of the table's updates pay is that PostgreSQL locks a row before it has it changed.
- Beside it a statement trigger, for columns that it doesn't watch, because they were added since, or because somebody
  took it away: until a plan makes it anew, whoever is held to a list updates nothing. (`except` lets new columns be
  set: that is what it says.)
- WHEN keeps out whom the policies of the table don't bind, and, unread, claims that can't have a client in them: so a
  person's own session never gets to mcp_rls.gate, which would take 4 us a row, and 33 before PostgreSQL 16. PostgreSQL
  makes a WHEN ready anew for each statement, though, in 50 us: where nearly nobody is to be refused anything, and once
  a statement, the function asks itself. It doesn't know who acts, so for a moment functions that run as their owner, in
  a client's session, wait as well.

As policies and grants do, it lets be what a foreign key's action does to a table (that runs as the table's owner),
owners, superusers, and who switches triggers off by session_replication_role, which only a superuser may.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcp_rls import altered, sql
from mcp_rls import effect as effects
from mcp_rls.catalog import Table, TableName
from mcp_rls.compiler import helpers as h
from mcp_rls.compiler.model import Columns, PolicySet
from mcp_rls.compiler.resolve import ResolvedPolicies, ResolvedTable, place
from mcp_rls.state import SCHEMA, Function, State, Trigger, class_role_name, digest, trigger_name

HELD, FREE = 1, 2  # what the gate calls a class that this trigger holds, and one that may update otherwise
PEOPLE = "people"


@dataclass(frozen=True)
class Limit:
    """Classes (none: people, and clients with them) and the columns that their updates may set."""

    columns: Columns
    who: tuple[str, ...]
    others: tuple[str, ...] = ()  # classes that may update by other rules


def limits(table: ResolvedTable) -> list[Limit]:
    """Every list of columns on the table; all update rules of a class share one, and those of people."""
    of_people = [r.columns for r in table.people or () if "update" in r.commands and r.columns is not None]
    updates = [r for r in table.clients if "update" in r.commands]
    held: dict[Columns, dict[str, None]] = {}
    for rule in updates:
        if rule.columns is not None:
            held.setdefault(rule.columns, {}).update(dict.fromkeys(rule.who))
    classes = dict.fromkeys(name for rule in updates for name in rule.who)
    found = [Limit(c, tuple(who), tuple(n for n in classes if n not in who)) for c, who in held.items()]
    return [*(Limit(c, ()) for c in of_people[:1]), *found]


def guards(resolved: ResolvedPolicies, table: ResolvedTable) -> Iterator[Trigger]:
    """The triggers that hold updates of the table to the columns of its rules."""
    facts = resolved.catalog.tables.get(table.table) if resolved.catalog else None
    by_grant = bool(resolved.policies.class_roles)  # a class has a role of its own, and its columns are granted to that
    for limit in limits(table):
        if not (limit.who and by_grant):
            yield from _Guard(resolved.policies, table, limit, facts).triggers()


@dataclass(frozen=True)
class _Guard:
    policies: PolicySet
    table: ResolvedTable
    limit: Limit
    facts: Table | None

    def triggers(self) -> Iterator[Trigger]:
        name, table, kept = self._name(), self.table.table, tuple(sorted(self.limit.columns.names))
        asked = (name, table, self._when(), self._arguments())
        watched = self._watched()
        if watched:
            yield self._trigger(name, sql.guarding(*asked, watched))
        elif watched is None:
            yield self._trigger(name, sql.guarding_others(*asked, kept))
        if not self.limit.columns.excluded:
            new, when = self._name(" new"), "" if self.limit.who else self._when()
            yield self._trigger(new, sql.guarding(new, table, when, (name, *self._arguments())))

    def _watched(self) -> str | None:
        """The columns that are not to be set; None where that is for the database to say."""
        limit = self.limit.columns
        if self.facts is None:
            return ", ".join(map(sql.ident, sorted(limit.names))) if limit.excluded else None
        return ", ".join(sql.ident(c.name) for c in self.facts.columns if not c.computed and not limit.admit(c.name))

    def _name(self, suffix: str = "") -> str:
        name = self.table.table.name
        if not self.limit.who:
            return trigger_name(f"{name} people columns{suffix}")
        return trigger_name(f"{name} columns{suffix}, {', '.join(self.limit.who)}")

    def _trigger(self, name: str, definition: str) -> Trigger:
        rules = (self.table.people or ()) if not self.limit.who else self.table.clients
        spans = [r.columns.span for r in rules if r.columns == self.limit.columns and r.columns is not None]
        said = h.json_text({"may": dict.fromkeys(self.limit.who or (PEOPLE,), of_columns(self.limit.columns))})
        at = place(min(spans, default=self.table.span))
        return Trigger(self.table.table, name, definition, True, digest(definition), at, said)

    def _arguments(self) -> tuple[str, ...]:
        """The listed columns, how they are meant, and for clients what the gate is asked."""
        limit = self.limit.columns
        names = ",".join('"' + n.replace("\\", "\\\\").replace('"', '\\"') + '"' for n in sorted(limit.names))
        said = ("{" + names + "}", "all columns but" if limit.excluded else "only")
        if not self.limit.who:
            return said
        rules = {name: [[HELD]] for name in self.limit.who} | {name: [[FREE]] for name in self.limit.others}
        return *said, h.json_text(rules)

    def _when(self) -> str:
        """Whether the session is one that the policies bind, and for clients' lists one that may be a client's."""
        roles = (f"pg_has_role(current_user, {sql.literal(r)}, 'usage')" for r in sorted(self.policies.acting))
        bound = f"row_security_active({sql.literal(sql.table(self.table.table))}::regclass)"
        tests = [h.may_name_client(self.policies.identity)] if self.limit.who else []
        return "\n    and ".join([*tests, bound, f"({' or '.join(roles)})"])


def of_columns(columns: Columns) -> dict[str, object]:
    """A list of columns as it stands in a meaning."""
    return {"columns": sorted(columns.names), "excluded": columns.excluded}


# --- what a change says -----------------------------------------------------------------------------------------------


def told(known: Trigger | None, table: TableName, actual: State, desired: State) -> list[effects.Said]:
    """What it opens or closes that a guard is made, changed or dropped: for each who may update in the end."""
    if known is not None and not known.enabled:
        return [(effects.Effect.CLOSES, "it was disabled")]
    if known is not None and not known.meaning:
        wanted = desired.triggers.get((table, known.name))
        return (altered.of_other(known, wanted) if wanted else None) or effects.UNKNOWN
    before, after = _may_set(actual, table), _may_set(desired, table)
    gone = known is not None and (table, known.name) not in desired.triggers
    if known is not None and gone and all(p.permissive for p in desired.policies_by_table.get(table, ())):
        after = dict.fromkeys(effects.limits(known.meaning))  # nothing of ours limits them there
    said = effects.of_columns(before, after)
    if said == effects.THE_SAME and (known is None or gone):
        return [(effects.Effect.NEITHER, "nobody may set other columns by that")]
    return said


def _may_set(state: State, table: TableName) -> dict[str, effects.Limit]:
    """Who may update the table, and the columns that each may set; None for any. Class roles are held by grants."""
    updates = (p for p in state.policies.values() if p.table == table and p.command == "update")
    may: dict[str, effects.Limit] = {who: None for policy in updates for who in effects.who_may(policy.meaning)}
    for trigger in state.triggers.values():
        if trigger.table == table and trigger.enabled:
            may |= {who: limit for who, limit in effects.limits(trigger.meaning).items() if who in may}
    roles = {who: class_role_name(who) for who in may}
    granted = [p for p in state.privileges if p.table == table and p.privilege == "UPDATE"]
    for who, role in roles.items():
        columns = {p.column for p in granted if p.role == role}
        if role in state.class_roles and columns and "" not in columns:
            may[who] = {"columns": sorted(columns), "excluded": False}
    return may


# --- functions --------------------------------------------------------------------------------------------------------


def functions(policies: PolicySet) -> list[Function]:
    """mcp_rls.guard_columns() and mcp_rls.guard_new_columns(): what refuses an UPDATE, in triggers.

    Definer, for token roles have no USAGE here. They speak of clients alone: a session without one has been decided
    about by the ceiling, so it is asked as in a role where the gate lets it be.
    """
    said = h.json_text({"value": "refuses an update of columns that are not to be set"})
    bodies = {"guard_columns": _of_row(policies), "guard_new_columns": _of_statement(policies)}
    return [
        h.function(name, "", "trigger", body, arguments="", volatility="volatile", meaning=said)
        for name, body in bodies.items()
    ]


def _of_row(policies: PolicySet) -> str:
    return f"""
begin
  if tg_nargs > 2 and {_free(policies, 2)} then return new; end if;
  {_refusal(0, sql.literal("Leave the others out of SET, though they stay as they are."))}
end
"""


def _of_statement(policies: PolicySet) -> str:
    # its first argument names the trigger that watches the columns that were there
    return f"""
declare
  added name;
begin
  if tg_nargs > 3 and not coalesce({h.may_name_client(policies.identity)}, false) then return null; end if;
  select a.attname into added from pg_attribute a
  where a.attrelid = tg_relid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and a.attname <> all (tg_argv[1]::text[]) and a.attnum <> all (coalesce((select t.tgattr::int2[] from pg_trigger t
      where t.tgrelid = tg_relid and t.tgname = tg_argv[0] and t.tgenabled in ('O', 'A')), '{{}}'))
  limit 1;
  if added is null or (tg_nargs > 3 and {_free(policies, 3)}) then return null; end if;
  {_refusal(1, "format('Not watched, so updates wait until policies are applied anew: %I.', added)")}
end
"""


def _free(policies: PolicySet, argument: int) -> str:
    acting = sql.literal(policies.anonymous[0] if policies.anonymous else "")
    return f"{SCHEMA}.gate({acting}, tg_argv[{argument}]::jsonb) in (-1, {FREE})"


def _refusal(argument: int, hint: str) -> str:
    """Raises what a missing grant would, in the trigger's name; the argument is the list, and then how it is meant."""
    return f"""raise insufficient_privilege using
    message = format('%s: an update may set %s %s', btrim(tg_name), tg_argv[{argument + 1}],
      array_to_string(tg_argv[{argument}]::text[], ', ')),
    hint = {hint}, schema = tg_table_schema, constraint = btrim(tg_name),
    table = (select c.relname from pg_class c where c.oid = coalesce(pg_partition_root(tg_relid), tg_relid));"""
