"""The SQL of ``PostgresStore``.

Texts lie as bytes: a ``text`` of PostgreSQL cannot hold every character. The ``id`` is
a digest of kind and key, as an index takes no long values; ``kind`` and ``key`` are
there to be given back, and for people: ``WHERE kind = 'session'``.
"""

from __future__ import annotations

from string import Template

# Two workers may create at once; "if not exists" alone does not bear that.
CREATE = Template("""
DO $$$$ BEGIN
PERFORM pg_advisory_xact_lock(hashtext('$name'));
CREATE SEQUENCE IF NOT EXISTS $versions;
CREATE TABLE IF NOT EXISTS $records (
  id bytea PRIMARY KEY,
  kind bytea NOT NULL,
  key bytea NOT NULL,
  owner_id bytea,
  version bigint NOT NULL,
  expires_at double precision NOT NULL,
  value bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS "${short}_owner_id" ON $records (owner_id)
  WHERE owner_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS "${short}_expires_at" ON $records (expires_at);
CREATE TABLE IF NOT EXISTS $locks (
  id bytea PRIMARY KEY,
  token bytea NOT NULL,
  ends_at timestamptz NOT NULL
);
END $$$$
""")

LOAD = Template("SELECT value, version, expires_at FROM $records WHERE id = %(id)s")

UPSERT = Template("""
INSERT INTO $records AS old (id, kind, key, owner_id, version, expires_at, value)
VALUES (%(id)s, %(kind)s, %(key)s, %(owner_id)s, nextval('$versions'),
  %(expires_at)s, %(value)s)
ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id,
  version = excluded.version, expires_at = excluded.expires_at, value = excluded.value
WHERE %(overwrite)s OR old.expires_at <= %(now)s
RETURNING version
""")

UPDATE = Template("""
UPDATE $records SET owner_id = %(owner_id)s, version = nextval('$versions'),
  expires_at = %(expires_at)s, value = %(value)s
WHERE id = %(id)s AND version = %(if_version)s AND expires_at > %(now)s
RETURNING version
""")

TAKE = Template(
    "DELETE FROM $records WHERE id = %(id)s RETURNING value, version, expires_at"
)

KEYS = Template("""
SELECT key FROM $records WHERE owner_id = %(owner_id)s AND expires_at > %(now)s
""")

OWNED_KEYS = Template("""
SELECT key FROM $records
WHERE kind = %(kind)s AND owner_id IS NOT NULL AND expires_at > %(now)s
""")

LOCK = Template("""
INSERT INTO $locks AS old (id, token, ends_at)
VALUES (%(id)s, %(token)s, clock_timestamp() + make_interval(secs => %(lease_s)s))
ON CONFLICT (id) DO UPDATE SET token = excluded.token, ends_at = excluded.ends_at
WHERE old.ends_at <= clock_timestamp()
RETURNING true
""")

UNLOCK = Template("DELETE FROM $locks WHERE id = %(id)s AND token = %(token)s")

SWEEP = Template("""
WITH dead_locks AS (
  DELETE FROM $locks WHERE id IN (
    SELECT id FROM $locks
    WHERE ends_at <= clock_timestamp() - make_interval(secs => %(margin_s)s)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
  )
)
DELETE FROM $records WHERE id IN (
  SELECT id FROM $records WHERE expires_at <= %(before)s
  ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
""")


def names_of(table: str) -> dict[str, str]:
    """Return what stands for the names in the statements, for a checked table name."""
    schema, _, short = table.rpartition(".")
    where = f'"{schema}".' if schema else ""
    return {
        "name": table,
        "short": short,
        "records": f'{where}"{short}"',
        "versions": f'{where}"{short}_version"',
        "locks": f'{where}"{short}_locks"',
    }
