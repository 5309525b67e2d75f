"""Two States to the ordered operations that lead from one to the other.

A plan is carried out in one transaction, so that nobody sees it half done; `apply` and revisions see to that. Its order
is such that no object, for as long as it alone differs, admits more than in the wider of its two ends:

1. revoke: a privilege that row security can't narrow goes first
2. the schema, then functions: policies call them
3. new RESTRICTIVE policies: they only narrow (and bind nobody before row security is on)
   with guards of columns that hold more back than before; those that let through more come after the ceilings that go
4. permissive policies that go, before any that come: together they would add up
5. changed policies, in place where PostgreSQL can
6. new permissive policies: on a table whose row security is off they bind nobody yet, and the next step needs them
7. row security on, FORCE
8. RESTRICTIVE policies that go: the ceilings last
9. functions and the schema that go: nothing calls them any more
10. grants last: before the policies stand, a grant would expose every row

Class roles are made before all that names them, and go at the very end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby

from mcp_rls import altered, replaced, sql
from mcp_rls import effect as effects
from mcp_rls.catalog import TableName
from mcp_rls.compiler import guard
from mcp_rls.compiler.ledger import CHANGE, INSTALL, RECORD, UNINSTALL
from mcp_rls.compiler.lower import as_before
from mcp_rls.compiler.meaning import NOBODY
from mcp_rls.effect import Effect
from mcp_rls.operation import EXCLUSIVE, OF_COMMENTS, Operation, Plan
from mcp_rls.state import SCHEMA, Function, Grant, Noted, Policy, Privilege, State, Switches, Trigger, comment, same

CLASS_ROLE = "mcp_rls: the clients of a class"  # the comment on each role that we made


def plan(actual: State, desired: State) -> Plan:
    """What to do to `actual` so that it becomes `desired`; no operations when nothing differs."""
    steady = all(state.has(CHANGE) for state in (actual, desired))
    return Plan(tuple(operations(actual, desired)), actual.fingerprint, desired.fingerprint, steady=steady)


def operations(actual: State, desired: State) -> Iterator[Operation]:
    """The operations of that plan, for whom needs no more of it."""
    start = actual
    if _result_types_change(actual, desired):
        # policies hold such a function fast: until it is made anew they admit nothing
        start = replace(actual, policies={k: p if p.is_as_before else shut(p) for k, p in actual.policies.items()})
        yield from _Difference(actual, start).changed()
    for step in _Difference(start, desired).steps():
        yield from step


def _result_types_change(actual: State, desired: State) -> bool:
    pairs = ((actual.functions.get(key), f) for key, f in desired.functions.items())
    return any(old is not None and old.returns != f.returns for old, f in pairs)


def shut(policy: Policy) -> Policy:
    """The policy that nobody passes, and that reads and calls nothing."""
    using, check = (None if text is None else "false" for text in (policy.using, policy.check))
    return replace(policy, using=using, check=check, source="", meaning=NOBODY)


@dataclass(frozen=True)
class _Difference:
    actual: State
    desired: State

    def steps(self) -> Iterator[Iterator[Operation]]:
        yield self.revokes()
        yield self.new_class_roles()
        yield self.installation()
        yield self.functions()
        yield self.new(permissive=False)
        guards = list(self.guards())
        yield (g for g in guards if g.effect is not Effect.OPENS)
        yield self.gone(permissive=True)
        yield self.changed()
        yield self.comments()
        yield self.new(permissive=True)
        yield self.switches()
        yield self.gone(permissive=False)
        yield (g for g in guards if g.effect is Effect.OPENS)
        yield self.gone_functions()
        yield self.removal()
        yield self.grants()
        yield self.gone_class_roles()
        yield self.manifest()

    # --- the schema

    def installation(self) -> Iterator[Operation]:
        if self.desired.installed and not self.actual.installed:
            yield Operation(INSTALL, f"make the schema {SCHEMA}", Effect.NEITHER, subject=f"schema {SCHEMA}")

    def removal(self) -> Iterator[Operation]:
        if self.actual.installed and not self.desired.installed:
            yield Operation(UNINSTALL, f"remove the schema {SCHEMA}", Effect.NEITHER, subject=f"schema {SCHEMA}")

    # --- functions

    def functions(self) -> Iterator[Operation]:
        for key, wanted in self.desired.functions.items():
            known = self.actual.functions.get(key)
            if known is None or not same(known, wanted):
                statements = sql.create_function(wanted)
                if known is not None and known.returns != wanted.returns:
                    statements = (sql.drop_function(known), *statements)
                if known is None:
                    yield _presence(wanted, statements, there=True)
                else:
                    lost = tuple(role for role in known.execute if role not in wanted.execute)
                    statements = (*statements, *([sql.revoke_execute(wanted, lost)] if lost else []))
                    said = altered.of_other(known, wanted) or effects.of_function(known.meaning, wanted.meaning)
                    if lost:
                        fewer = (Effect.CLOSES, f"{', '.join(lost)} may no longer call it")
                        said = [*(said if said != effects.THE_SAME else ()), fewer]
                    yield _operation(statements, f"replace {wanted.object}", said, subject=wanted.object)

    def gone_functions(self) -> Iterator[Operation]:
        gone = [f for key, f in self.actual.functions.items() if key not in self.desired.functions]
        # one that calls others before them: a session may still call it
        for f in sorted(gone, key=lambda f: -sum(f"{SCHEMA}.{other.name}(" in f.definition for other in gone)):
            yield _presence(f, (sql.drop_function(f),), there=False)

    # --- policies

    def new(self, *, permissive: bool) -> Iterator[Operation]:
        for key, policy in self.desired.policies.items():
            if policy.permissive is permissive and key not in self.actual.policies:
                yield self.creation(policy)

    def creation(self, policy: Policy) -> Operation:
        create: tuple[str, ...] = (sql.create_policy(policy), sql.comment_on_policy(policy, comment(policy.place)))
        on = policy.table in self.actual.switches and self.actual.switches[policy.table].row_security
        if policy.is_as_before and not on:
            create = sql.keep_people(policy, comment(policy.place))
            words, effect = f"{policy.table}: people keep what they had, now by a policy", Effect.NEITHER
        elif policy.is_as_before:
            words, effect = f"{policy.table}: people may do all again that they have privileges for", Effect.OPENS
        elif policy.permissive:
            words, effect = f"{policy.table}: people may {policy.command} by rules", Effect.OPENS
            old = as_before(policy.table)
            if all((old.table, old.name) not in state.policies for state in (self.desired, self.actual)):
                # left by a downgrade, it would add all rows to those of the rules
                create = (sql.drop_policy_if_there(old), sql.forget((old.object,)), *create)
        else:
            here = self.actual.policies_by_table.get(policy.table, [])
            held = replaced.is_held(policy, here, self.turned)
            of = f", as {', '.join(policy.roles)}" if self.desired.class_roles.issuperset(policy.roles) else ""
            effect = Effect.NEITHER if held else Effect.CLOSES
            words = f"{policy.table}: {_ceiling_words(policy)}{of}"
        return Operation(create, words, effect, EXCLUSIVE, policy.object, policy.table)

    def gone(self, *, permissive: bool) -> Iterator[Operation]:
        for key, policy in self.actual.policies.items():
            if policy.permissive is permissive and key not in self.desired.policies:
                words, effect = f"{policy.table}: drop policy {policy.name!r}", Effect.CLOSES
                if not permissive:
                    words, effect = self.without_ceiling(policy, words)
                # where a revision runs, row security may have been on: then nothing was made to keep people
                drop = sql.drop_policy_if_there(policy) if policy.is_as_before else sql.drop_policy(policy)
                yield Operation((drop,), words, effect, EXCLUSIVE, policy.object, policy.table)

    def without_ceiling(self, policy: Policy, words: str) -> tuple[str, Effect]:
        """What it comes to that the ceiling goes, given those that stand then."""
        left = self.desired.policies_by_table.get(policy.table, [])
        if replaced.is_held(policy, left, self.turned):
            return f"{words}: another holds as much", Effect.NEITHER
        return "\n".join([words, *(f"  {line}" for line in replaced.opened(policy, left))]), Effect.OPENS

    @property
    def turned(self) -> frozenset[str]:
        """Roles that stand for a class at one end alone."""
        return self.actual.class_roles ^ self.desired.class_roles

    def changed(self) -> Iterator[Operation]:
        for key, policy in self.desired.policies.items():
            known = self.actual.policies.get(key)
            if known is not None and not same(known, policy):
                statements = _change(known, policy)
                if len(statements) > 1 or self.comment_differs(known, policy):
                    statements = (*statements, sql.comment_on_policy(policy, comment(policy.place)))
                words = f"{policy.table}: change policy {policy.name!r}"
                said = altered.of_policy(known, policy) or self.said(known, policy)
                made = _operation(statements, words, said, lock=EXCLUSIVE, subject=policy.object)
                yield replace(made, table=policy.table)

    def said(self, known: Policy, wanted: Policy) -> list[effects.Said]:
        if not wanted.source and wanted.is_shut:
            return [(Effect.CLOSES, "shut, until what it calls is made anew")]
        if (known.permissive, known.command) != (wanted.permissive, wanted.command):
            return [(Effect.OPENS, "another kind of policy, or for another command")]
        return told_of_policy(wanted, known.meaning, known.roles, self.desired)

    def comments(self) -> Iterator[Operation]:
        """Comments that were changed by hand, or follow the note of their place, on what is else the same."""
        for key, policy in self.desired.policies.items():
            known = self.actual.policies.get(key)
            if known and same(known, policy) and self.comment_differs(known, policy):
                yield _comment(policy, sql.comment_on_policy(policy, comment(policy.place)))
        for key, trigger in self.desired.triggers.items():
            before = self.actual.triggers.get(key)
            if before and same(before, trigger) and self.comment_differs(before, trigger):
                yield _comment(trigger, sql.comment_on_trigger(trigger, comment(trigger.place)))

    def comment_differs(self, known: Policy | Trigger, wanted: Policy | Trigger) -> bool:
        """Whether there is another comment than will be written down: what only moved in the file isn't noted anew."""
        moves = known.source != wanted.source and known.place != wanted.place
        return moves or wanted.object in self.actual.uncommented - self.desired.uncommented

    # --- guards of columns

    def guards(self) -> Iterator[Operation]:
        """Triggers that come, change or go, and what each class may set then that it may not set before."""
        before, after = self.actual.triggers, self.desired.triggers
        for key in sorted(before.keys() | after.keys()):
            known, wanted = before.get(key), after.get(key)
            if known is None or wanted is None or not same(known, wanted):
                yield _guard(known, wanted, guard.told(known, key[0], self.actual, self.desired))

    # --- switches and grants

    def switches(self) -> Iterator[Operation]:
        for table, wanted in self.desired.switches.items():
            known = self.actual.switches.get(table, Switches(table, False, False))
            statements = sql.set_switches(known, wanted)
            if statements:
                opens = (known.row_security and not wanted.row_security) or (known.force and not wanted.force)
                effect = Effect.OPENS if opens else Effect.CLOSES
                words = f"{table}: row security {'on' if wanted.row_security else 'off'}"
                words += ", for its owner too" if wanted.force else ""
                yield Operation(statements, words, effect, EXCLUSIVE, f"table {table}", table)

    def revokes(self) -> Iterator[Operation]:
        for (table, role, _), names in _by_holder(self.actual.privileges - self.desired.privileges):
            words = f"{table}: {role} loses {', '.join(names)}"
            statement = sql.revoke(table, role, names)
            yield Operation((statement,), words, Effect.CLOSES, subject=f"table {table}", table=table)
        for held in sorted(self.actual.grants - self.desired.grants):
            words = f"{held.role} {_held_words(held, 'no longer ')}"
            yield Operation((sql.revoke_usage(held),), words, Effect.CLOSES, subject=f"role {held.role}")

    def grants(self) -> Iterator[Operation]:
        # what is revoked on the whole table goes from its columns too
        swept = {
            replace(p, column="", grantable=False)
            for p in self.actual.privileges - self.desired.privileges
            if not p.column
        }
        left = {p for p in self.actual.privileges if replace(p, column="", grantable=False) not in swept}
        for (table, role, grantable), names in _by_holder(self.desired.privileges - left):
            words = f"{table}: {role} gets {', '.join(names)}" + (", and may pass it on" if grantable else "")
            statement = sql.grant(table, role, names, grantable=grantable)
            yield Operation((statement,), words, Effect.OPENS, subject=f"table {table}", table=table)
        for held in sorted(self.desired.grants - self.actual.grants):
            yield Operation(
                (sql.grant_usage(held),), f"{held.role} {_held_words(held)}", Effect.OPENS, subject=f"role {held.role}"
            )

    # --- class roles

    def new_class_roles(self) -> Iterator[Operation]:
        for name in sorted(self.desired.class_roles - self.actual.class_roles):
            words = f"make the role {name}, where the server has none"
            yield Operation((sql.create_class_role(name, CLASS_ROLE),), words, Effect.NEITHER, subject=f"role {name}")

    def gone_class_roles(self) -> Iterator[Operation]:
        for name in sorted(self.actual.class_roles - self.desired.class_roles):
            words = f"drop the role {name}, unless something depends on it"
            yield Operation((sql.drop_class_role(name, CLASS_ROLE),), words, Effect.NEITHER, subject=f"role {name}")

    # --- the manifest

    def manifest(self) -> Iterator[Operation]:
        """What was made is written down with what PostgreSQL prints for it, and what was revoked, to be given back."""
        if not self.desired.installed:
            return
        before, after = _ledger(self.actual), _ledger(self.desired)
        made = tuple((o, *row) for o, row in after.items() if o not in before or before[o][0] != row[0])
        gone = (before.keys() | self.actual.recorded) - after.keys() if self.actual.installed else set()
        left = tuple(sorted(o for o in gone if o.startswith("class role ")))
        forgotten = tuple(sorted(gone.difference(left)))
        statements = (
            *([sql.forget(forgotten)] if forgotten else []),
            *([sql.left(left)] if left else []),
            *([sql.record(made, abridging=self.desired.has(RECORD))] if made else []),
        )
        seen = (sql.note(self.desired.schemas, self.desired.roles),) if self.desired.schemas else ()
        # what is noted of tables: else it would be taken for a change by hand
        if statements or (seen and any(chain(self.switches(), self.revokes(), self.grants()))):
            words = "note in the manifest what changed"
            yield Operation((*statements, *seen), words, Effect.NEITHER, subject=f"schema {SCHEMA}")


def _operation(
    statements: tuple[str, ...], words: str, said: list[effects.Said], *, lock: str = "", subject: str
) -> Operation:
    """An operation with what it changes told line by line."""
    lines = [words, *(f"  {' '.join(line.splitlines())}" for _, line in said)]
    rewrite = said == effects.THE_SAME
    return Operation(statements, "\n".join(lines), effects.together(said), lock, subject, is_rewrite=rewrite)


def _presence(function: Function, statements: tuple[str, ...], *, there: bool) -> Operation:
    """A function's coming or going."""
    said = effects.of_presence(function.meaning, there=there)
    words = f"{'make' if there else 'drop'} {function.object}"
    return replace(_operation(statements, words, said, subject=function.object), is_headline=bool(said))


def _guard(known: Trigger | None, wanted: Trigger | None, said: list[effects.Said]) -> Operation:
    trigger = wanted or known
    assert trigger is not None, "a change has at least one end"
    made = (wanted.definition, sql.comment_on_trigger(wanted, comment(wanted.place))) if wanted else ()
    statements = (*([sql.drop_trigger(known)] if known else []), *made)
    verb = "drop" if wanted is None else "make" if known is None else "change"
    words = f"{trigger.table}: {verb} trigger {trigger.name.strip()!r}"
    return replace(_operation(statements, words, said, lock=EXCLUSIVE, subject=trigger.object), table=trigger.table)


def told_of_policy(wanted: Policy, before: str, roles: Collection[str], desired: State) -> list[effects.Said]:
    """What changes by a policy that meant `before` and was for `roles`, in the state that it leads to."""
    mine = desired.policies_by_table.get(wanted.table, ()) if wanted.permissive and wanted.command == "select" else ()
    follow = [p.command for p in mine if p.permissive and p.command in ("update", "delete")]
    said = effects.of_policy(wanted.command, before, wanted.meaning, desired.implied, follow)
    others = effects.of_roles(roles, wanted.roles, permissive=wanted.permissive)
    return [*said, *others] if not others or said != effects.THE_SAME else others


def _ledger(state: State) -> dict[str, tuple[str, str, str]]:
    """Object; its source, place and meaning."""
    things: list[Noted] = [*state.functions.values(), *state.policies.values(), *state.triggers.values()]
    made = {thing.object: (thing.source, thing.place, thing.meaning) for thing in things}
    held = [*(f"class role {name}" for name in sorted(state.class_roles)), *(g.object for g in sorted(state.grants))]
    noted = dict.fromkeys(held, ("granted", "", ""))
    return made | noted | {p.object: ("revoked", "", "") for p in sorted(state.revoked)}


def _held_words(held: Grant, no: str = "") -> str:
    if held.kind == "role":
        return f"may {no}become {held.name}"
    return f"may {no}use the {held.kind} {held.name}"


def _by_holder(privileges: Iterable[Privilege]) -> Iterator[tuple[tuple[TableName, str, bool], tuple[str, ...]]]:
    def holder(p: Privilege) -> tuple[TableName, str, bool]:
        return p.table, p.role, p.grantable

    for key, group in groupby(sorted(privileges, key=holder), holder):
        yield key, tuple(sql.on_column(p.privilege, p.column) for p in sorted(group))


def _comment(thing: Policy | Trigger, statement: str) -> Operation:
    words = f"{thing.table}: write the comment on {thing.name.strip()!r}"
    return Operation((statement,), words, Effect.NEITHER, OF_COMMENTS, thing.object, thing.table)


def _ceiling_words(policy: Policy) -> str:
    if policy.command == "all":
        return "closed to clients"
    who = effects.who_may(policy.meaning)
    shown = ", ".join(who[:4]) + (f" and {len(who) - 4} more" if len(who) > 4 else "") or "none of them"
    return f"a ceiling on what clients may {policy.command}: {shown}"


def _change(known: Policy, wanted: Policy) -> tuple[str, ...]:
    """ALTER where PostgreSQL can; it can't change kind or command, nor take an expression away."""
    taken = (known.using is not None and wanted.using is None) or (known.check is not None and wanted.check is None)
    if taken or (known.permissive, known.command) != (wanted.permissive, wanted.command):
        return sql.drop_policy(known), sql.create_policy(wanted)
    return (sql.alter_policy(wanted),)
