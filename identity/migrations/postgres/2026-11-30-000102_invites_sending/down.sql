alter table invites drop column sending_until;
