//! Posting events over one connection that is kept alive.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::Full;
use tokio::time::timeout;

use crate::cli::ServerUrl;
use crate::client::http::{Answer, Connection, RequestError, request};

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(30);

/// Where events are published.
const ROUTE: &str = "/api/v1/events";

/// The way to the server: a connection that is opened when it is needed.
pub(in crate::client) struct Poster<'a> {
    url: &'a ServerUrl,
    connection: Option<Connection>,
    was_connected: bool,
}

impl<'a> Poster<'a> {
    pub(in crate::client) fn new(url: &'a ServerUrl) -> Self {
        Self {
            url,
            connection: None,
            was_connected: false,
        }
    }

    /// Whether the server was ever there.
    pub(super) fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// Sends one request, within thirty seconds. After an error the connection is given up.
    pub(in crate::client) async fn post(
        &mut self,
        content_type: &str,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<Answer, RequestError> {
        let connection = self.connection.take().filter(Connection::is_open);
        let mut connection = match connection {
            Some(connection) => connection,
            None => Connection::open(self.url).await?,
        };
        self.was_connected = true;
        let mut request = request(self.url, Method::POST, ROUTE)
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, "application/json, application/problem+json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| RequestError::Lost(error.to_string()))?;
        let exchange = async {
            let response = connection.send(request).await?;
            Answer::read(response).await
        };
        let answer = timeout(REQUEST, exchange)
            .await
            .unwrap_or(Err(RequestError::TimedOut(REQUEST)))?;
        self.connection = Some(connection);
        Ok(answer)
    }
}
