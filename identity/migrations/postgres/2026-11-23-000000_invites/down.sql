drop table invites;
drop table onbinds;
drop table ephemeral_keys;
