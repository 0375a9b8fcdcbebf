alter table onbinds drop column server_group;
