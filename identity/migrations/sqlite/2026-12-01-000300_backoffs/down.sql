alter table outgoing_mails drop column backoff;
alter table onbinds drop column backoff;
