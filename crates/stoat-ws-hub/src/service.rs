//! The manager as a service of tower, and so as a route of axum.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};

use http::{Extensions, Request, Response};
use tower_service::Service;

use crate::ConnectionManager;

/// A service that answers each request as a WebSocket handshake.
///
/// [`ConnectionManager::into_service`] makes it. It is ready at all times, and holds back
/// nothing: what is refused, as over a limit, is answered at once.
#[derive(Clone)]
pub struct HubService<P> {
    hub: ConnectionManager,
    peer: P,
}

impl ConnectionManager {
    /// The manager as a [`tower_service::Service`].
    ///
    /// `peer` finds the client's address among the extensions of a request, where the server
    /// puts it; without one, limits count all clients as one, and lists show `0.0.0.0:0`.
    ///
    /// ```
    /// use std::net::SocketAddr;
    ///
    /// use axum::{Router, extract::ConnectInfo};
    /// use stoat_ws_hub::ConnectionManager;
    ///
    /// let hub = ConnectionManager::in_memory();
    /// let service = hub.clone().into_service(|extensions| {
    ///     let peer: &ConnectInfo<SocketAddr> = extensions.get()?;
    ///     Some(peer.0)
    /// });
    /// let router: Router = Router::new().route_service("/ws", service);
    /// # drop(router);
    /// ```
    pub fn into_service<P>(self, peer: P) -> HubService<P>
    where
        P: Fn(&Extensions) -> Option<SocketAddr>,
    {
        HubService { hub: self, peer }
    }
}

impl<B, P> Service<Request<B>> for HubService<P>
where
    P: Fn(&Extensions) -> Option<SocketAddr>,
{
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = (self.peer)(request.extensions());
        let peer = peer.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
        ready(Ok(match self.hub.accept(&mut request, peer) {
            Ok(switching) => switching.map(|()| String::new()),
            Err(refused) => refused.to_response(),
        }))
    }
}
