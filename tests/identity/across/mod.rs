//! Themes that cross the endpoints of the identity server: stories, listeners, processes, databases, secrets, mail.

mod address_forms;
mod backup;
mod bodies;
mod client_address;
mod clock_steps;
pub(crate) mod crash;
mod email_story;
mod encodings;
mod error_matrix;
mod homeserver_limits;
mod hostile_fields;
mod http_layer;
mod invitation_story;
mod limits;
mod lookup_quota;
mod lost_leases;
mod lost_replica;
mod mail;
mod migrate;
mod outage;
mod outbound_proxy;
mod pepper_rotation;
mod restored;
mod secrets;
mod session_errors;
mod shutdown;
mod two_processes;
