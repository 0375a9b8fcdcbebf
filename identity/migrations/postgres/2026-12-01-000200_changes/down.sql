drop table changes;
drop table change_heads;
