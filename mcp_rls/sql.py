"""The only writer of SQL statements: quoting, and the statements for each kind of object we manage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import chain, count
from typing import Any

from mcp_rls.abridged import abridged
from mcp_rls.catalog import TableName
from mcp_rls.layout import json_lines
from mcp_rls.state import LEFT, SCHEMA, Function, Grant, Policy, Privilege, Switches, Trigger

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
# Words that PostgreSQL can't take as a bare column or table name (manual, appendix C: reserved, and reserved but for
# types and functions). Quoting more than needed is harmless, so lists of several majors are united.
_RESERVED = frozenset(
    """all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true union
    unique user using variadic verbose when where window with""".split()
)


def ident(name: str) -> str:
    """`name` as an SQL identifier, quoted where needed."""
    if _PLAIN.match(name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a string constant, whatever standard_conforming_strings says."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def dollar(body: str, *words: str) -> str:
    """`body` dollar-quoted with the first of these tags that ends where the body does, or else one of our own."""
    tags = (f"${word}$" for word in chain(words, ["mcp_rls"], (f"mcp_rls{n}" for n in count(1))))
    return next(f"{tag}{body}{tag}" for tag in tags if f"{body}{tag}".index(tag) == len(body))


def array(values: tuple[str, ...]) -> str:
    """A text[] constant: array['a', 'b']::text[]."""
    return f"array[{', '.join(map(literal, values))}]::text[]"


def table(name: TableName) -> str:
    return f"{ident(name.schema)}.{ident(name.name)}"


def role(name: str) -> str:
    """A role in TO or FROM; 'public' is the keyword."""
    return "public" if name == "public" else ident(name)


def roles(names: tuple[str, ...]) -> str:
    return ", ".join(map(role, names))


def signature(function: Function) -> str:
    return f"{SCHEMA}.{ident(function.name)}({function.arguments})"


# --- policies ---------------------------------------------------------------------------------------------------------


def _expressions(policy: Policy) -> str:
    using = f"\n  using ({policy.using})" if policy.using is not None else ""
    check = f"\n  with check ({policy.check})" if policy.check is not None else ""
    return using + check


def create_policy(policy: Policy) -> str:
    kind = "permissive" if policy.permissive else "restrictive"
    head = f"create policy {ident(policy.name)} on {table(policy.table)} as {kind}"
    return f"{head} for {policy.command} to {roles(policy.roles)}{_expressions(policy)}"


def block_if(test: str, statements: tuple[str, ...]) -> str:
    """A DO block that runs `statements` where `test` holds at that moment."""
    lines = (f"    {s.replace('select', 'perform', 1) if s.startswith('select') else s};" for s in statements)
    body = "\n".join(["", "begin", f"  if {test} then", *lines, "  end if;", "end", ""])
    return f"do {dollar(body)}"


def keep_people(policy: Policy, text: str) -> tuple[str, ...]:
    """Makes the policy where row security is off, so that people keep what they had, and writes the comment on it.

    A downgrade leaves it in place, so a revision that is run again may meet it. Where row security is on without it,
    the app's own policies say what people may: it would add all rows to theirs.
    """
    where = f"p.polrelid = {literal(table(policy.table))}::regclass and p.polname = {literal(policy.name)}"
    there = f"exists (select from pg_policy p where {where})"
    off = f"not (select c.relrowsecurity from pg_class c where c.oid = {literal(table(policy.table))}::regclass)"
    made = block_if(f"not {there} and {off}", (create_policy(policy),))
    return made, block_if(there, (comment_on_policy(policy, text),))


def alter_policy(policy: Policy) -> str:
    return f"alter policy {ident(policy.name)} on {table(policy.table)} to {roles(policy.roles)}{_expressions(policy)}"


def drop_policy(policy: Policy) -> str:
    return f"drop policy {ident(policy.name)} on {table(policy.table)}"


def drop_policy_if_there(policy: Policy) -> str:
    return f"drop policy if exists {ident(policy.name)} on {table(policy.table)}"


def comment_on_policy(policy: Policy, text: str) -> str:
    return f"comment on policy {ident(policy.name)} on {table(policy.table)} is {literal(text)}"


# --- triggers ---------------------------------------------------------------------------------------------------------


def guarding(name: str, on: TableName, when: str, arguments: tuple[str, ...], columns: str = "") -> str:
    """The trigger that asks mcp_rls.guard_columns of each row whose UPDATE names one of `columns`.

    Without `columns`, the one that asks mcp_rls.guard_new_columns once, of any UPDATE.
    """
    event, each = (f"update of {columns}", "row") if columns else ("update", "statement")
    function = "guard_columns" if columns else "guard_new_columns"
    condition = f"\n  when ({when})" if when else ""
    called = f"{SCHEMA}.{function}({', '.join(map(literal, arguments))})"
    head = f"create trigger {ident(name)} before {event} on {table(on)} for each {each}"
    return f"{head}{condition}\n  execute function {called}"


def guarding_others(name: str, on: TableName, when: str, arguments: tuple[str, ...], kept: tuple[str, ...]) -> str:
    """The same for all columns but `kept`, in a database that can't be looked at."""
    head, _, tail = guarding(name, on, when, arguments, "\x00").partition("\x00")
    listed = f"""(select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_catalog.pg_attribute a
    where a.attrelid = {literal(table(on))}::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      and a.attname <> all ({array(kept)}))"""
    body = f"\nbegin\n  execute coalesce({literal(head)} || {listed} || {literal(tail)}, 'select 1');\nend\n"
    return f"do {dollar(body)}"


def drop_trigger(trigger: Trigger) -> str:
    return f"drop trigger {ident(trigger.name)} on {table(trigger.table)}"


def comment_on_trigger(trigger: Trigger, text: str) -> str:
    return f"comment on trigger {ident(trigger.name)} on {table(trigger.table)} is {literal(text)}"


# --- tables -----------------------------------------------------------------------------------------------------------


def set_switches(before: Switches, after: Switches) -> tuple[str, ...]:
    """ALTER TABLE for what differs; several changes share one lock."""
    parts = []
    if before.row_security != after.row_security:
        parts.append(f"{'enable' if after.row_security else 'disable'} row level security")
    if before.force != after.force:
        parts.append(f"{'force' if after.force else 'no force'} row level security")
    return (f"alter table {table(after.table)} {', '.join(parts)}",) if parts else ()


def revoke(name: TableName, holder: str, privileges: tuple[str, ...]) -> str:
    return f"revoke {', '.join(privileges)} on table {table(name)} from {role(holder)}"


def grant(name: TableName, holder: str, privileges: tuple[str, ...], *, grantable: bool = False) -> str:
    option = " with grant option" if grantable else ""
    return f"grant {', '.join(privileges)} on table {table(name)} to {role(holder)}{option}"


def grant_as_people_have(wanted: Privilege, people: tuple[str, ...]) -> str:
    """Grants it where every role of people has it: a client is to have no more than its person."""
    asked = (
        f"has_table_privilege({literal(r)}, {literal(table(wanted.table))}, {literal(wanted.privilege)})"
        for r in people
    )
    named = on_column(wanted.privilege, wanted.column)
    return block_if(" and ".join(asked), (grant(wanted.table, wanted.role, (named,)),))


def grant_usage_as_people_have(wanted: Grant, people: tuple[str, ...]) -> str:
    asked = (f"has_schema_privilege({literal(r)}, {literal(wanted.name)}, 'usage')" for r in people)
    return block_if(" and ".join(asked), (grant_usage(wanted),))


def revoke_all(name: TableName, holders: tuple[str, ...]) -> str:
    return f"revoke all on table {table(name)} from {roles(holders)}"


def create_class_role(name: str, comment: str) -> str:
    """Makes the role where the server has none of that name: other databases may share it, and make it meanwhile.

    One that is there and can do more than a class may is an error; a plan can have been made for another server.
    """
    body = f"""
begin
  if not exists (select from pg_roles where rolname = {literal(name)}) then
    create role {role(name)} nologin noinherit;
    comment on role {role(name)} is {literal(comment)};
  elsif exists (select from pg_roles r where r.rolname = {literal(name)}
                and (r.rolsuper or r.rolbypassrls or r.rolcanlogin or r.rolcreaterole
                     or exists (select from pg_auth_members m where m.member = r.oid))) then
    raise exception using message = {literal(f"the role {name} is there already, and can do more than a class may")};
  end if;
exception when duplicate_object or unique_violation then null;
end
"""
    return f"do {dollar(body)}"


def drop_class_role(name: str, comment: str) -> str:
    """Drops the role if we made it, whoever carries this out may, and nothing in any database depends on it."""
    body = f"""
begin
  if exists (select from pg_roles r where r.rolname = {literal(name)}
             and shobj_description(r.oid, 'pg_authid') = {literal(comment)}
             and not exists (select from pg_shdepend d
                             where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid)) then
    drop role {role(name)};
  end if;
exception when insufficient_privilege or dependent_objects_still_exist or undefined_object then null;
end
"""
    return f"do {dollar(body)}"


def grant_usage(held: Grant) -> str:
    if held.kind != "role":
        return f"grant usage on {_used(held)} to {role(held.role)}"
    # from 16 on a member need not have the role's privileges before it takes the role; whoever may grant nothing
    # needs to only where somebody else hasn't
    member = f"grant {role(held.name)} to {role(held.role)}"
    body = f"""
begin
  if current_setting('server_version_num')::integer >= 160000 then
    execute {literal(member + " with inherit false, set true")};
  else {member};
  end if;
exception when insufficient_privilege then
  if not exists (select from pg_auth_members m
                 join pg_roles r on r.oid = m.roleid join pg_roles u on u.oid = m.member
                 where r.rolname = {literal(held.name)} and u.rolname = {literal(held.role)}
                   and coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)) then raise;
  end if;
end
"""
    return f"do {dollar(body)}"


def revoke_usage(held: Grant) -> str:
    if held.kind == "role":
        return f"revoke {role(held.name)} from {role(held.role)}"
    return f"revoke all on {_used(held)} from {role(held.role)}"  # what was given by hand beside it, too


def _used(held: Grant) -> str:
    if held.kind == "schema":
        return f"schema {ident(held.name)}"
    return f"sequence {table(TableName(held.schema, held.name))}"


def on_column(privilege: str, column: str) -> str:
    """A privilege as GRANT and REVOKE name it, on a column or ('') the whole table."""
    return f"{privilege} ({ident(column)})" if column else privilege


def revoke_blind(name: TableName, holders: tuple[str, ...]) -> tuple[str, ...]:
    """Revokes what row security can't narrow; MAINTAIN only where PostgreSQL knows it (17 and later)."""
    who = ", ".join(map(role, holders))
    maintain = f"execute {literal(f'revoke maintain on table {table(name)} from {who}')}"
    return (
        f"revoke truncate, references, trigger on table {table(name)} from {who}",
        block_if("current_setting('server_version_num')::integer >= 170000", (maintain,)),
    )


# --- functions --------------------------------------------------------------------------------------------------------


def create_function(function: Function) -> tuple[str, ...]:
    """The function, and EXECUTE for just the roles that need it (PUBLIC has it by default)."""
    name = signature(function)
    return (
        function.definition,
        f"revoke all on function {name} from public",
        *((f"grant execute on function {name} to {roles(function.execute)}",) if function.execute else ()),
    )


def revoke_execute(function: Function, holders: tuple[str, ...]) -> str:
    return f"revoke execute on function {signature(function)} from {roles(holders)}"


def drop_function(function: Function) -> str:
    return f"drop function {signature(function)}"


# --- the manifest -----------------------------------------------------------------------------------------------------


def record(entries: Iterable[tuple[str, str, str, str]], *, abridging: bool = False) -> str:
    """Notes (object, source, place, meaning) of what was just made, with what PostgreSQL prints for it.

    `abridging`: policies that share their rules together, where mcp_rls.record takes them so.
    """
    rows = [row(*entry) for entry in entries]
    said = json.dumps(abridged(rows) if abridging else rows, separators=(",", ":"), ensure_ascii=False)
    return json_lines(f"select {SCHEMA}.record(/* what each says, for later plans */ {dollar(said, 'json')})")


def row(object_: str, source: str, place: str, meaning: str) -> dict[str, Any]:
    """What is recorded of one object."""
    said: dict[str, Any] = {"object": object_, "source": source, "place": place}
    if meaning:
        facts = json.loads(meaning)
        said["facts"] = {"may": {}} | _without_empty(facts) if object_.startswith("policy ") else facts
    return said


def _without_empty(value: Any) -> Any:
    """The value without what is empty in it: there is much of it in policies, and a revision is read."""
    if isinstance(value, list):
        return list(map(_without_empty, value))
    return {k: _without_empty(v) for k, v in value.items() if v not in ([], {})} if isinstance(value, dict) else value


def note(schemas: tuple[str, ...], roles: tuple[str, ...]) -> str:
    """Notes what else decides who reaches a row in these schemas."""
    named = (f"array[{', '.join(map(literal, names))}]" if names else array(()) for names in (schemas, roles))
    return f"select {SCHEMA}.note({', '.join(named)})"


def forget(objects: tuple[str, ...]) -> str:
    return f"delete from {SCHEMA}.manifest where object = any ({array(objects)})"


def left(objects: tuple[str, ...]) -> str:
    """Notes of class roles that they have no class any more, for as long as the server has them."""
    return f"update {SCHEMA}.manifest set source = {literal(LEFT)} where object = any ({array(objects)})"


def create_index(name: TableName, columns: tuple[str, ...], called: str = "", *, concurrently: bool = True) -> str:
    """An index, of this name or one of PostgreSQL's choice; CONCURRENTLY is nothing for a transaction."""
    how = " concurrently" if concurrently else ""
    words = f" if not exists {ident(called)}" if called else ""
    return f"create index{how}{words} on {table(name)} ({', '.join(map(ident, columns))})"
