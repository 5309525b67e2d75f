"""Tables that go by another name than when policies were applied to them: recognised by their policies.

The manifest knows objects by name. A table that was renamed, or whose schema was, shows as one that is gone and one
that is new; but PostgreSQL holds for its policies, to the byte, what it held before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from mcp_rls.database.drift.reading import Facts, Look, Name, policy_name, trigger_table

Renames = Mapping[str, str]  # 'schema.table' as it was -> as it is
Trees = dict[str, dict[str, str]]  # 'schema.table' -> policy -> what PostgreSQL holds for it


def renames(look: Look) -> Renames:
    """Each renamed table's old and new name."""
    known, now = look.noted("table "), {**look.elsewhere, **look.seen}
    applied = _trees({o: r.tree for o, r in look.manifest.items() if o.startswith("policy ")})
    stored = _trees({o: s.tree for o, s in look.stored.items() if o.startswith("policy ")})
    gone = [table for table in sorted(applied) if f"table {table}" in known and f"table {table}" not in now]
    new = [table for table in sorted(stored) if f"table {table}" in now and f"table {table}" not in known]
    found: dict[str, str] = {}
    for old in gone:
        same = [t for t in new if t not in found.values() and stored[t] == applied[old]]
        if same:
            found[old] = next((t for t in same if _bare(t) == _bare(old)), same[0])
    return {**found, **_without_policies(found, known, now)}


def _trees(objects: Mapping[str, str]) -> Trees:
    found: Trees = defaultdict(dict)
    for object_, tree in objects.items():
        table, name = policy_name(object_)
        found[table][name] = tree
    return found


def _without_policies(tables: Renames, known: Mapping[str, Facts], now: Mapping[str, Facts]) -> Renames:
    """Views and the like of a schema that was renamed with all that is in it: known by their names and facts."""
    found = {}
    for old, new in _schemas(tables).items():
        for object_, facts in known.items():
            table = object_.removeprefix("table ")
            moved = f"{new}.{_bare(table)}"
            if table.startswith(f"{old}.") and object_ not in now and now.get(f"table {moved}") == facts:
                found[table] = moved
    return {old: new for old, new in found.items() if old not in tables}


def _schemas(tables: Renames) -> Renames:
    """Schemas of tables that kept their own names."""
    pairs = ((old.partition("."), new.partition(".")) for old, new in tables.items())
    return {old[0]: new[0] for old, new in pairs if old[2] == new[2]}


def _bare(table: str) -> str:
    return table.partition(".")[2]


def followed(look: Look, tables: Renames) -> Look:
    """The same look with everything that was applied under the names that the tables have now."""
    homes = set(_schemas(tables).values())
    moved = {f"table {new}" for new in tables.values()}
    came = {o: f for o, f in look.elsewhere.items() if o in moved or o[6:].partition(".")[0] in homes}
    manifest = {_object(o, tables): r for o, r in look.manifest.items()}
    for object_, row in manifest.items():
        if object_.startswith("table ") and row.facts:
            parents = sorted(tables.get(p, p) for p in row.facts["parents"])
            manifest[object_] = replace(row, facts={**row.facts, "parents": parents})
    return replace(look, manifest=manifest, seen={**look.seen, **came})


def _object(object_: str, tables: Renames) -> str:
    """The object's name in the manifest, had it been applied after the renaming."""
    if object_.startswith("table "):
        table = object_.removeprefix("table ")
        return f"table {tables.get(table, table)}"
    if object_.startswith("policy "):
        table, name = policy_name(object_)
        return Name(tables.get(table, table), name).object
    if object_.startswith("trigger "):
        table = trigger_table(object_)
        return f"trigger {tables.get(table, table)}" + object_.removeprefix(f"trigger {table}")
    return object_
