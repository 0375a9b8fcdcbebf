//! `POST /_matrix/push/v1/notify`: requests, payloads, outcomes, faults of the providers and of the operator.

mod badges;
mod bridge;
mod calls;
mod credentials;
mod endpoints;
mod hostile;
mod huawei;
mod isolation;
mod keyless;
mod nothing_lost;
mod outcomes;
mod payloads;
mod requests;
mod story;
