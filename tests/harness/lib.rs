//! The faked outside world and the real binaries in it, for the black-box tests, the demo and the load run.
//!
//! Invariant: no module here imports a service: a binary is its command line, its HTTP and its log. Every fake listens on
//! a port of its own on 127.0.0.1 and ends when it is dropped.

pub mod api;
pub mod apns;
pub mod application_server;
pub mod axe;
pub mod binary;
pub mod broken_setups;
pub mod browser;
pub mod certificates;
pub mod clock;
pub mod database;
mod deadline;
pub mod dns;
pub mod doctor;
mod fake;
pub mod fcm;
pub mod generator;
pub mod homeserver;
pub mod huawei;
pub mod independent;
pub mod mail;
pub mod metrics;
pub mod options;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod push_service;
pub mod raw;
pub mod receiver;
pub mod skipped;
pub mod sms;
mod staleness;
pub mod synapse;
pub mod transcript;
pub mod wait;
pub mod web_app;
pub mod world;
