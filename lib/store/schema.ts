/**
 * The database's schema as the steps that led to it: element N takes version N to N + 1 (user_version).
 * Released steps never change; a change is a new step.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE images (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
  ) STRICT;
  CREATE TABLE vms (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- the VM's place in 127.42.0.0/16 and its vsock CID derive from it
    number INTEGER NOT NULL UNIQUE,
    image_id TEXT NOT NULL REFERENCES images (id),
    -- also the intent: what a killed daemon must undo or finish
    state TEXT NOT NULL,
    record TEXT NOT NULL,
    -- what runs it, as its driver wrote it; null while nothing does
    machine TEXT,
    broken_reason TEXT
  ) STRICT;
  `,
  // Without the reference to images: a VM is kept, and shown, when its image cannot be read any more.
  `
  CREATE TABLE vms_without_reference (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    number INTEGER NOT NULL UNIQUE,
    image_id TEXT NOT NULL,
    state TEXT NOT NULL,
    record TEXT NOT NULL,
    machine TEXT,
    broken_reason TEXT
  ) STRICT;
  INSERT INTO vms_without_reference
    SELECT id, name, number, image_id, state, record, machine, broken_reason FROM vms;
  DROP TABLE vms;
  ALTER TABLE vms_without_reference RENAME TO vms;
  CREATE INDEX vms_by_image ON vms (image_id);
  `,
];
