"""Triggers with other rights than those of whoever sets them off."""

from tests.postgres.lints.world import Ways

_TABLES = """
create table notes (id integer primary key, owner uuid);
create table audit (id integer, what text);
create table counts (id integer, n integer);
create function log_it() returns trigger language plpgsql security definer
  as $$ begin insert into public.audit values (new.id, tg_op); return new; end $$;
create function log_as_caller() returns trigger language plpgsql
  as $$ begin insert into public.audit values (new.id, tg_op); return new; end $$;
create function count_it() returns trigger language plpgsql security definer
  as $$ begin update public.counts set n = n + 1; return null; end $$;
create function stamp() returns trigger language plpgsql security definer
  as $$ begin new.owner := gen_random_uuid(); return new; end $$;
"""
_FILE = """
tables:
  public.notes:
    clients:
      - {who: helper, allow: [select, insert]}
  public.counts:
    clients:
      - {who: helper, allow: [select, update]}
"""

WAYS = [
    Ways(
        file=_FILE,
        near_miss=_TABLES
        + """
        create trigger caller after insert on notes for each row execute function log_as_caller();
        create trigger counted after insert on notes for each row execute function count_it();
        create trigger stamped before insert on notes for each row execute function stamp();
        create trigger deleted after delete on notes for each row execute function log_it();
        create trigger off after insert on notes for each row execute function log_it();
        alter table notes disable trigger off;
        create trigger other after insert on audit for each row execute function count_it();
        """,
        bad="create trigger logged after insert on notes for each row execute function log_it()",
        fix="alter function log_it() security invoker",
        found=("trigger public.notes.logged",),
        details=("inserts rows of public.audit", "helper may write to public.notes"),
    ),
    Ways(
        name="what is narrowed, and what needs another scope",
        file="""
scopes: {"n:w": {text: write}, "c:w": {text: count}}
tables:
  public.notes:
    clients:
      - {who: helper, allow: insert, scope: "n:w"}
      - {who: helper, allow: [select, delete]}
  public.counts:
    clients:
      - {who: helper, allow: select}
      - {who: helper, allow: update, columns: [n], scope: "n:w"}
      - {who: helper, allow: delete, rows: "id > 1", scope: "n:w"}
      - {who: helper, allow: insert, scope: "c:w"}
""",
        near_miss=_TABLES
        + """
        create function clear() returns trigger language plpgsql security definer
          as $$ begin delete from public.counts; return null; end $$;
        create function begin_it() returns trigger language plpgsql security definer
          as $$ begin insert into public.counts values (new.id, 0); return null; end $$;
        create trigger stamped before insert on notes for each row execute function stamp();
        """,
        bad="""
        create trigger counted after insert on notes for each row execute function count_it();
        create trigger cleared after insert on notes for each row execute function clear();
        create trigger begun after insert on notes for each row execute function begin_it();
        """,
        fix="drop trigger counted on notes; drop trigger cleared on notes; alter function begin_it() security invoker",
        found=("trigger public.notes.begun", "trigger public.notes.cleared", "trigger public.notes.counted"),
        details=("past what rules allow",),
    ),
    Ways(
        name="one with the scopes for it all",
        file="""
scopes: {"n:w": {text: write}, "c:w": {text: count}}
tables:
  public.notes:
    clients:
      - {who: helper, allow: insert, scope: ["n:w", "c:w"]}
  public.counts:
    clients:
      - {who: helper, allow: insert, scope: "c:w"}
      - {who: helper, allow: [select, update]}
""",
        near_miss=_TABLES
        + """
        create function begin_it() returns trigger language plpgsql security definer
          as $$ begin insert into public.counts values (new.id, 0); update public.counts set n = 1; return null; end $$;
        create trigger begun after insert on notes for each row execute function begin_it();
        """,
        bad="create trigger logged after insert on notes for each row execute function log_it()",
        fix="drop trigger logged on notes",
        found=("trigger public.notes.logged",),
    ),
    Ways(
        name="through another function, or by SQL that is put together; one accepted as a door",
        file=_FILE + "doors: {public.notes.logged: {reason: it writes what happened and no more}}\n",
        near_miss=_TABLES
        + """
        create trigger logged after insert on notes for each row execute function log_it();
        create function note(t text) returns void language sql security definer
          as $$ insert into public.audit (what) values (t) $$;
        """,
        bad="""
        create function far() returns trigger language plpgsql
          as $$ begin perform public.note('x'); return null; end $$;
        create trigger through after insert on notes for each row execute function far();
        create function told() returns trigger language plpgsql security definer
          as $$ begin execute tg_argv[0]; return null; end $$;
        create trigger told after insert on notes for each row execute function told('select 1');
        """,
        fix="drop trigger through on notes; drop trigger told on notes;",
        found=("trigger public.notes.through", "trigger public.notes.told"),
        details=("may write anything", "alter function public.told() security invoker"),
    ),
    Ways(
        name="instead of what a view does, and on a table of another schema: for every client",
        file=_FILE,
        near_miss=_TABLES
        + """
        create schema side; create table side.drafts (id integer);
        create view mine with (security_invoker = true) as select 1 as id;
        create view asked with (security_invoker = true) as select 1 as id;
        create trigger logged instead of update on mine for each row execute function log_it();
        create trigger caller instead of update on asked for each row execute function log_as_caller();
        create trigger counted after insert on side.drafts for each row execute function count_it();
        grant select, insert on mine to authenticated; grant select, update on asked to authenticated;
        grant insert on side.drafts to authenticated;
        """,
        bad="""
        create function tell() returns trigger language plpgsql security definer
          as $$ begin select what into new.what from public.audit; return new; end $$;
        create view told with (security_invoker = true) as select ''::text as what;
        create trigger told instead of insert on told for each row execute function tell();
        grant insert on told to authenticated;
        create view outer_one as table mine; grant update on outer_one to authenticated;
        grant usage on schema side to authenticated;
        """,
        fix="""
        revoke update on outer_one from authenticated; revoke usage on schema side from authenticated;
        alter function tell() security invoker;
        """,
        found=("trigger public.mine.logged", "trigger public.told.told", "trigger side.drafts.counted"),
        details=(
            "every client, as authenticated, may write to public.mine",
            "updates rows of public.counts",
            "reads rows",
        ),
    ),
]
