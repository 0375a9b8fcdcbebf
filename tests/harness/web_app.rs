//! A web app: fixed files over HTTP at a loopback address, which browsers treat as a secure origin.

use std::sync::Arc;

use crate::fake::{HttpServer, Reaction, Recorded, Reply, Service, Socket};

/// A web app that is served until it is dropped.
#[derive(Debug)]
pub struct WebApp {
    server: HttpServer,
}

#[derive(Debug)]
struct Files(Vec<(&'static str, &'static str, &'static str)>);

impl WebApp {
    /// Serves files: path, media type, content.
    pub async fn start(files: &[(&'static str, &'static str, &'static str)]) -> Self {
        let socket = Socket::bind("127.0.0.1:0").await;
        Self { server: socket.serve(None, Arc::new(Files(files.to_vec()))) }
    }

    /// Its origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.server.address)
    }
}

impl Service for Files {
    async fn react(&self, request: Recorded<'_>) -> Reaction {
        let file = self.0.iter().find(|(path, ..)| *path == request.path());
        Reaction::Reply(match file {
            Some((_, media_type, content)) => Reply::of_type(200, media_type, *content),
            None => Reply::new(404, ""),
        })
    }
}
