-- association_changes kept the address of every former association in clear, without an end, and had no reader.
drop table association_changes;
