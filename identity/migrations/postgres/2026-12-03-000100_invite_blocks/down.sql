drop table invite_blocks;
