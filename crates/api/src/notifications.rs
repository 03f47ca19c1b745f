//! `/api/v1/notifications` and `/api/v1/notifications/live`: what the operator should know about the server itself.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::error::RecvError;

use crate::live::Notification;
use crate::reply;
use crate::server::Api;

/// `GET /api/v1/notifications`
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Response {
    reply::success_of(&api.live.notifications())
}

/// One follower, counted until it is dropped.
struct Follower(Arc<Api>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.metrics.notification_streams.dec();
    }
}

/// `GET /api/v1/notifications/live`: server-sent events, what holds already first. Status 204 when as many follow as may, as in
/// Prometheus: the client asks for the list then.
pub(crate) async fn live(State(api): State<Arc<Api>>) -> Response {
    let most = i64::try_from(api.web.max_notifications_subscribers).unwrap_or(i64::MAX);
    if api.metrics.notification_streams.inc() >= most {
        api.metrics.notification_streams.dec();
        return StatusCode::NO_CONTENT.into_response();
    }
    let follower = Follower(Arc::clone(&api));
    let (mut first, receiver) = api.live.follow();
    first.reverse();
    let events = futures_util::stream::unfold(
        (first, receiver, follower),
        move |(mut first, mut receiver, follower)| async move {
            let one = match first.pop() {
                Some(one) => one,
                None => next(&follower.0, &mut receiver).await?,
            };
            Some((Ok::<_, Infallible>(event(&one)), (first, receiver, follower)))
        },
    );
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

async fn next(
    api: &Api,
    receiver: &mut tokio::sync::broadcast::Receiver<Notification>,
) -> Option<Notification> {
    loop {
        tokio::select! {
            biased;
            received = receiver.recv() => match received {
                Ok(one) => return Some(one),
                // What it missed has been said again or withdrawn since.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            },
            () = api.stopping() => return None,
        }
    }
}

fn event(one: &Notification) -> Event {
    Event::default().data(serde_json::to_string(one).unwrap_or_default())
}
