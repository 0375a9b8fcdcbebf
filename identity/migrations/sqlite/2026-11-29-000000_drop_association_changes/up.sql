-- association_changes kept the address of every former association in clear, without an end, and had no reader.
-- secure_delete overwrites the freed pages with zeros, so that the file keeps no address either.
pragma secure_delete = on;
drop table association_changes;
pragma secure_delete = off;
