delete from onbinds where former_mxid is not null;
alter table onbinds drop column former_mxid;
