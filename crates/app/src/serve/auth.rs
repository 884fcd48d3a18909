//! Who asks, and what they may do.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode, Uri, request};
use stoat_events::Scope;
use stoat_ws_hub::Admission;

use super::problem::{Kind, Problem};
use crate::access::{Digest, Jwt, Refusal, Right, Rights};
use crate::settings::Settings;

const UNAUTHORIZED: Kind = Kind::plain(StatusCode::UNAUTHORIZED);
const FORBIDDEN: Kind = Kind::plain(StatusCode::FORBIDDEN);

/// Begins the subprotocol that carries a token: a page cannot set the headers of a WebSocket.
const SUBPROTOCOL: &str = "bearer.";

/// The tokens that are known, and how others are checked.
#[derive(Debug)]
pub(super) struct Auth {
    tokens: HashMap<Digest, Access>,
    jwt: Option<Jwt>,
}

/// What a request may do.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// Whose token it is; nothing where none is needed.
    pub(super) owner: Option<Arc<str>>,
    rights: Rights,
    pub(super) scope: Scope,
    /// When the token ends.
    pub(super) until: Option<Instant>,
}

impl Access {
    /// Everything, for everyone.
    pub(super) fn open() -> Self {
        Self {
            owner: None,
            rights: Rights::ALL,
            scope: Scope::all(),
            until: None,
        }
    }

    /// The terms for a WebSocket.
    pub(super) fn admission(&self) -> Admission {
        let admission = Admission::default().scope(self.scope.clone());
        match self.until {
            Some(end) => admission.until(end),
            None => admission,
        }
    }
}

impl Auth {
    pub(super) fn new(settings: &Settings) -> Self {
        let known = settings.tokens.iter().map(|token| {
            let access = Access {
                owner: Some(format!("token:{}", token.name()).into()),
                rights: token.rights(),
                scope: token.scope(),
                until: None,
            };
            (token.digest(), access)
        });
        Self {
            tokens: known.collect(),
            jwt: settings.jwt.clone(),
        }
    }

    /// Lets a request in that has a token with this right; all of them where no token is configured.
    ///
    /// # Errors
    /// 401 without a valid token, 403 where it lacks the right. Neither shows the token, nor
    /// whether there is anything at the place that was asked for.
    pub(super) fn admit(&self, head: &request::Parts, right: Right) -> Result<Access, Problem> {
        if self.tokens.is_empty() && self.jwt.is_none() {
            return Ok(Access::open());
        }
        let access = self.identify(head).map_err(|detail| {
            Problem::new(UNAUTHORIZED, detail)
                .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        })?;
        if !access.rights.has(right) {
            return Err(lacks(&format!("the right `{}`", right.as_str())));
        }
        Ok(access)
    }

    fn identify(&self, head: &request::Parts) -> Result<Access, &'static str> {
        let token = presented(&head.headers, &head.uri)?.ok_or(
            "a token is needed: in `Authorization: Bearer …`, in `?token=…`, or as the \
             subprotocol `bearer.…` beside `stoat.v1`",
        )?;
        if let Some(access) = self.tokens.get(&Digest::of(&token)) {
            return Ok(access.clone());
        }
        let invalid = "the token is not valid";
        let jwt = self.jwt.as_ref().ok_or(invalid)?;
        let claims = jwt
            .verify(&token, SystemTime::now())
            .map_err(|refusal| match refusal {
                Refusal::Invalid => invalid,
                Refusal::Expired => "the token has expired",
                Refusal::NotYetValid => "the token is not valid yet",
                Refusal::MalformedClaim(claim) => match claim {
                    "stoat_rights" => "the token's claim `stoat_rights` is no list of texts",
                    "stoat_topics" => "the token's claim `stoat_topics` is no list of patterns",
                    _ => "a time in the token is malformed",
                },
            })?;
        Ok(Access {
            owner: Some(format!("jwt:{}", claims.digest.to_hex()).into()),
            rights: claims.rights,
            scope: claims.scope,
            until: Instant::now().checked_add(claims.valid_for),
        })
    }
}

/// A refusal of what a valid token does not allow.
pub(super) fn lacks(what: &str) -> Problem {
    Problem::new(FORBIDDEN, format!("the token lacks {what}"))
}

/// The token of a request: that of the header, else that of the subprotocol, else that of the query.
fn presented<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
) -> Result<Option<Cow<'a, str>>, &'static str> {
    if let Some(token) = only(bearer(headers), "`Authorization` is given twice")? {
        return Ok(Some(token?.into()));
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok());
    let offered = offered.flat_map(|list| list.split(',')).map(str::trim);
    let tokens = offered.filter_map(|name| name.strip_prefix(SUBPROTOCOL));
    if let Some(token) = only(tokens, "two tokens are offered as subprotocols")? {
        return Ok(Some(token.into()));
    }
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let tokens = query.filter(|(name, value)| name == "token" && !value.is_empty());
    only(tokens.map(|(_, value)| value), "`token` is given twice")
}

/// What stands behind `Bearer` in each `Authorization`. Other schemes are for somebody before us.
fn bearer(headers: &HeaderMap) -> impl Iterator<Item = Result<&str, &'static str>> {
    headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let malformed = "`Authorization` is malformed";
        let Ok(value) = value.to_str() else {
            return Some(Err(malformed));
        };
        let value = value.trim();
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let token = token.trim();
        Some(if token.is_empty() {
            Err(malformed)
        } else {
            Ok(token)
        })
    })
}

fn only<T>(
    mut items: impl Iterator<Item = T>,
    twice: &'static str,
) -> Result<Option<T>, &'static str> {
    let first = items.next();
    match items.next() {
        None => Ok(first),
        Some(_) => Err(twice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(uri: &str, headers: &[(&str, &str)]) -> Result<Option<String>, &'static str> {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Ok(presented(&head.headers, &head.uri)?.map(Cow::into_owned))
    }

    #[test]
    fn a_token_is_found_in_three_places_in_this_order() {
        let header = ("authorization", "Bearer in-header");
        let protocol = ("sec-websocket-protocol", "stoat.v1, bearer.in-protocol");
        let found = |uri, headers: &[_]| token(uri, headers).unwrap();
        let query = "/ws?a=b&token=in%2Dquery";
        assert_eq!(found(query, &[header, protocol]).unwrap(), "in-header");
        assert_eq!(found(query, &[protocol]).unwrap(), "in-protocol");
        assert_eq!(found(query, &[]).unwrap(), "in-query");
        assert_eq!(found("/ws?token=&tokens=x", &[]), None);
        let basic = ("authorization", "Basic dTpw");
        assert_eq!(found("/ws", &[basic]), None);
        assert_eq!(found(query, &[basic]).unwrap(), "in-query");
        let odd = ("authorization", "bEARER   x.y.z ");
        assert_eq!(found("/ws", &[odd]).unwrap(), "x.y.z");
    }

    #[test]
    fn what_is_twice_or_malformed_is_no_token() {
        let header = ("authorization", "Bearer a");
        for headers in [
            &[header, header][..],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer  ")],
            &[("authorization", "Bearer ü")],
            &[("sec-websocket-protocol", "bearer.a, bearer.b")],
        ] {
            assert!(token("/ws?token=good", headers).is_err(), "{headers:?}");
        }
        assert!(token("/ws?token=a&token=b", &[]).is_err());
    }
}
