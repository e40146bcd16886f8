//! The service's HTTP interface.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio::time;

use super::store::{Outcome, Request, Store};

/// What a healthy service needs at most to say so.
const HEALTH_DEADLINE: Duration = Duration::from_secs(1);
/// Most pieces that one order may ask for.
const MOST_PIECES: i32 = 1000;

/// What the handlers share.
#[derive(Clone)]
pub struct Service {
    /// The books.
    pub store: Arc<Store>,
    /// Name of this service, told in answers.
    pub name: Arc<str>,
}

/// All routes.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/purchaseOrder", post(purchase))
        .route("/orders/{id}", get(order))
        .route("/stock/{item}", get(stock))
        .route("/healthz", get(health))
        .with_state(service)
}

async fn purchase(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    let key = match headers.get("idempotency-key").map(|key| key.to_str()) {
        Some(Ok(key)) if !key.trim().is_empty() && key.len() <= 200 => key,
        _ => return bad("send a header Idempotency-Key of 1 to 200 visible characters"),
    };
    if !(1..=MOST_PIECES).contains(&request.quantity) {
        return bad(&format!("quantity must be 1 to {MOST_PIECES}"));
    }
    if request.item.contains('\0') || request.customer.contains('\0') {
        return bad("item and customer must not contain the character NUL");
    }
    match service.store.order(key, &request).await {
        Ok(Outcome::Taken(order)) => {
            let location = format!("/orders/{}", order.id);
            (
                StatusCode::CREATED,
                [(header::LOCATION, location)],
                Json(order),
            )
                .into_response()
        }
        Ok(Outcome::Known(order)) => Json(order).into_response(),
        Ok(Outcome::KeyReused(_)) => problem(
            StatusCode::CONFLICT,
            "this Idempotency-Key belongs to an order with another content; take a new key",
        ),
        Ok(Outcome::SoldOut(stock)) => problem(
            StatusCode::CONFLICT,
            &format!("sold out: {} of `{}` left", stock.quantity, stock.item),
        ),
        Ok(Outcome::UnknownItem) => problem(
            StatusCode::NOT_FOUND,
            &format!("`{}` is not for sale here", request.item),
        ),
        Ok(Outcome::Contended) => {
            unavailable("too many others order this just now; try again with the same key")
        }
        Err(error) => failed(&error),
    }
}

async fn order(State(service): State<Service>, Path(id): Path<i64>) -> Response {
    match service.store.find(id).await {
        Ok(Some(order)) => Json(order).into_response(),
        Ok(None) => problem(
            StatusCode::NOT_FOUND,
            &format!("no order has the number {id}"),
        ),
        Err(error) => failed(&error),
    }
}

async fn stock(State(service): State<Service>, Path(item): Path<String>) -> Response {
    match service.store.stock(&item).await {
        Ok(Some(stock)) => Json(stock).into_response(),
        Ok(None) => problem(
            StatusCode::NOT_FOUND,
            &format!("`{item}` is not for sale here"),
        ),
        Err(error) => failed(&error),
    }
}

async fn health(State(service): State<Service>) -> Response {
    let (status, database) = match time::timeout(HEALTH_DEADLINE, service.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok".to_owned()),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no answer".to_owned()),
    };
    (
        status,
        Json(json!({ "name": *service.name, "database": database })),
    )
        .into_response()
}

fn problem(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

fn bad(text: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, text)
}

fn unavailable(text: &str) -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, text);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    response
}

fn failed(error: &anyhow::Error) -> Response {
    log::error!("{error:#}");
    unavailable(&format!("{error:#}; try again with the same key"))
}
