"""Which clients there are, and which words persons grant them: the classes and scopes of a policy file."""

from __future__ import annotations

import re
from collections import deque

from mcp_rls.compiler.identity import condition, identifier, table_name
from mcp_rls.compiler.model import ClientClass, Registry, Scope
from mcp_rls.compiler.schema import CLASS_NAME, SCOPE_NAME, ClassRolesEntry, MatchEntry, RegistryEntry
from mcp_rls.compiler.shape import Draft, shown
from mcp_rls.state import class_role_name

ID_LENGTH = 2048  # a longer client id in a token is malformed
SCOPE_LIMIT = 1000  # a chain of scopes that imply each other grows with the square of its length

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_PREFIX = re.compile(r"https://([^/?#]*)(/[^?#]*)?([?#].*)?", re.DOTALL)
_DOT_SEGMENT = re.compile(r"/\.\.?(?:/|$)")
_ESCAPED_PATH = re.compile(r"%(?:2e|2f|5c)", re.IGNORECASE)


def classes(draft: Draft) -> dict[str, ClientClass]:
    """The classes, in the order in which they are tried."""
    found = {}
    for name, entry in draft.file.classes.items():
        _class_name(draft, name)
        if entry.consent and draft.file.consent is None and not draft.damaged("consent"):
            message = 'consent is required of this class, and the key "consent" of the file is missing'
            hint = "consent: {table: public.mcp_grants, columns: {person: user_id, client: client_id}}"
            draft.error("missing-key", message, ("classes", name, "consent"), hint)
        if entry.match is not None:
            found[name] = _class(draft, name, entry.match, entry.consent is not None)
    return found


def class_roles(draft: Draft, known: dict[str, ClientClass], roles: tuple[str, ...]) -> dict[str, str]:
    """The database role of each class, where the file asks for them."""
    if not draft.file.class_roles:
        return {}
    names = {name: class_role_name(name) for name in known}
    for name, role in names.items():
        if role in roles or role in draft.file.trusted_roles:
            message = f'the role of this class would be "{role}", which the file has another use for'
            draft.key_error("bad-value", message, ("classes", name), "give the class another name")
    return names


def taken_by(draft: Draft) -> tuple[str, ...]:
    """The login roles that may become a class role; on supabase PostgREST's, if the file doesn't say."""
    entry = draft.file.class_roles
    if not entry:
        return ()
    named = entry.taken_by if isinstance(entry, ClassRolesEntry) else None
    if named is None:
        return ("authenticator",) if draft.file.platform == "supabase" else ()
    own = {class_role_name(name) for name in draft.file.classes}
    for index, name in enumerate(named):
        span = draft.document.span("class_roles", "taken_by", index)
        identifier(draft, name, span)
        if name in own:
            message = f'"{name}" is a class\'s own role, which is a member of no other'
            draft.diagnostics.error("bad-value", message, span, "name the role that logs in")
    return tuple(dict.fromkeys(named))


def _class_name(draft: Draft, name: str) -> None:
    if name == "direct":
        message = '"direct" is no name for a class: it stands for the sessions of the app itself'
        draft.key_error("bad-value", message, ("classes", name))
    elif not re.fullmatch(CLASS_NAME.strip("^$"), name):
        hint = "use lower-case letters, digits, - and _, a letter first, at most 63"
        draft.key_error("bad-value", f'"{shown(name)}" is no name for a class', ("classes", name), hint)


def _class(draft: Draft, name: str, match: MatchEntry, consent: bool) -> ClientClass:
    path = ("classes", name, "match")
    for key in ("registration", "redirect_origins"):
        if getattr(match, key) is not None:
            message = f"matching by {key} isn't supported yet"
            hint = "list the clients under ids, or in a registry table"
            draft.key_error("not-yet", message, (*path, key), hint)
    if not match.model_fields_set and not draft.damaged(*path):
        message = f'the class "{shown(name)}" matches nobody: "match" has no key'
        draft.error("missing-key", message, path, "give ids, client_id_url_prefix or registry")
    ids = tuple(match.ids or ())
    for index, value in enumerate(ids):
        if len(value) > ID_LENGTH or value != value.strip():
            message = f'no client can have the id "{shown(value)}"'
            hint = f"an id has no space around it and at most {ID_LENGTH} characters"
            draft.error("bad-value", message, (*path, "ids", index), hint)
    prefix = match.client_id_url_prefix
    if prefix is not None and not _url_prefix(draft, name, prefix):
        prefix = None
    registry = _registry(draft, name, match.registry) if match.registry else None
    span = draft.document.key_span("classes", name)
    return ClientClass(name, tuple(dict.fromkeys(ids)), prefix, registry, consent, span)


def _url_prefix(draft: Draft, name: str, prefix: str) -> bool:
    """Whether every URL that begins with `prefix` is on one host, at or below one path; an error if not."""
    problem, hint = _prefix_problem(prefix)
    if problem:
        path = ("classes", name, "match", "client_id_url_prefix")
        draft.error("bad-value", f'"{shown(prefix)}" {problem}', path, hint)
    return not problem


def _prefix_problem(prefix: str) -> tuple[str, str]:
    """What is wrong with a prefix, and what to do about it; ('', '') when nothing is."""
    parts = _PREFIX.fullmatch(prefix)
    if parts is None:
        return "doesn't begin with https://", "a client id that is a URL is an https URL"
    host, path, rest = parts[1], parts[2] or "", parts[3]
    host, _, port = host.partition(":")
    if "@" in parts[1]:
        return "has a user name before its host", "remove all up to the @"
    if "*" in prefix:
        return "has a wildcard", "it is a prefix: end it where the wildcard stands, after the host's /"
    if rest:
        return "has a query or a fragment", "end it with the path"
    if not _HOST.fullmatch(host) or (":" in parts[1] and not re.fullmatch("[0-9]{1,5}", port)):
        return "has no proper host", "https://host/ or https://host:port/, in lower case"
    if not path:
        return "ends within the host, so it matches other hosts too", f"https://{shown(parts[1])}/"
    odd = not re.fullmatch(r"[!-~]*", path) or "\\" in path or len(prefix) > ID_LENGTH
    if odd or _DOT_SEGMENT.search(path) or _ESCAPED_PATH.search(path):
        return "is a prefix that no client id may have", "no dot segments, backslashes, spaces, %2e, %2f, %5c"
    return "", ""


def _registry(draft: Draft, name: str, entry: RegistryEntry) -> Registry | None:
    path = ("classes", name, "match", "registry")
    if entry.table is None or entry.id is None:
        return None
    table = table_name(draft, entry.table, draft.document.span(*path, "table"))
    identifier(draft, entry.id, draft.document.span(*path, "id"))
    where = condition(draft, entry.where, (*path, "where"))
    return Registry(table, entry.id, where, draft.document.span(*path, "table")) if table else None


# --- scopes


def scopes(draft: Draft) -> dict[str, Scope]:
    """The scopes, each with all that it implies."""
    entries = draft.file.scopes
    if len(entries) > SCOPE_LIMIT:
        message = f"{len(entries)} scopes; more than {SCOPE_LIMIT} can't be handled"
        draft.key_error("file-too-large", message, ("scopes",))
        return {}
    implied = {name: _implied(draft, name, entry.implies or []) for name, entry in entries.items()}
    closures = {name: _closure(name, implied) for name in entries}
    _cycles(draft, implied, closures)
    found = {}
    for name, entry in entries.items():
        if not re.fullmatch(SCOPE_NAME.strip("^$"), name):
            message = f'"{shown(name)}" can\'t be a scope'
            hint = 'a scope is one word of printable ASCII without " and \\ (RFC 6749)'
            draft.key_error("bad-value", message, ("scopes", name), hint)
        span = draft.document.key_span("scopes", name)
        found[name] = Scope(name, entry.text or "", frozenset({name, *closures[name]}), span)
    return found


def _implied(draft: Draft, name: str, implies: list[str]) -> tuple[str, ...]:
    """The scopes that `name` implies directly; an error for each that isn't declared."""
    for index, other in enumerate(implies):
        if not draft.knows("scopes", other):
            message = f'no scope is named "{shown(other)}"'
            hint = draft.nearest(other, draft.names("scopes"))
            draft.error("unknown-scope", message, ("scopes", name, "implies", index), hint)
    return tuple(other for other in implies if other in draft.file.scopes)


def _closure(name: str, implied: dict[str, tuple[str, ...]]) -> frozenset[str]:
    """What holding `name` implies; `name` itself only where it implies itself."""
    reached: set[str] = set()
    todo = [*implied[name]]
    while todo:
        other = todo.pop()
        if other not in reached:
            reached.add(other)
            todo += implied[other]
    return frozenset(reached)


def _cycles(draft: Draft, implied: dict[str, tuple[str, ...]], closures: dict[str, frozenset[str]]) -> None:
    reported: set[str] = set()
    for name, closure in closures.items():
        if name in closure and name not in reported:
            cycle = _way_back(name, implied)
            reported |= {other for other in closure if name in closures[other]}
            message = "scopes imply each other in a circle: " + " > ".join(shown(each) for each in cycle)
            draft.error("implies-cycle", message, ("scopes", name, "implies"), "one of them must not imply")


def _way_back(name: str, implied: dict[str, tuple[str, ...]]) -> list[str]:
    """A shortest way from `name` along `implied` back to it."""
    came_from: dict[str, str] = {}
    todo = deque([name])
    while name not in came_from:
        here = todo.popleft()
        for other in implied[here]:
            if other not in came_from:
                came_from[other] = here
                todo.append(other)
    way = [name]
    while len(way) == 1 or way[-1] != name:
        way.append(came_from[way[-1]])
    return way[::-1]
