-- The lookup hash of an address whose domain is written in A-labels; null if that is the canonical form.
alter table associations add column digest_ascii bytea;
create index associations_by_digest_ascii on associations (digest_ascii) where digest_ascii is not null;
