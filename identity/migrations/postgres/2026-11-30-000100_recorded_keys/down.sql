drop table recorded_keys;
