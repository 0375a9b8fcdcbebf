drop index associations_by_digest_ascii;
alter table associations drop column digest_ascii;
