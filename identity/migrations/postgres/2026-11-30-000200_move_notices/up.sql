-- A row with former_mxid notifies the homeserver of that user that its address now belongs to mxid. It has no invitation.
alter table onbinds add column former_mxid text;
