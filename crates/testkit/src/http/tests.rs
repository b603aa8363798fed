//! The app, the client and the load against each other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use super::*;

#[tokio::test]
async fn the_app_tells_what_it_was_asked() -> Result<()> {
    let app = App::start("reviews", "v2").await?;
    let request = Request::new("POST", "/a?b=c").host("reviews").header("cookie", "x=1").body("hello");
    let answer = request.send(app.address()).await?;
    assert_eq!((answer.status, answer.version()), (200, Some("v2")));
    let told = answer.json();
    assert_eq!(told["app"], "reviews");
    assert_eq!(told["method"], "POST");
    assert_eq!(told["path"], "/a?b=c");
    assert_eq!(told["host"], "reviews");
    assert_eq!(told["headers"]["cookie"], "x=1");
    assert_eq!(told["body"], "hello");
    assert_eq!(app.count(|seen| seen.path.starts_with("/a")), 1);
    assert_eq!(app.total(), 1);
    Ok(())
}

#[tokio::test]
async fn the_app_fails_and_delays_as_it_is_told() -> Result<()> {
    let app = App::start("reviews", "v1").await?;
    app.fail_next(1, 503);
    assert_eq!(Request::get("/").send(app.address()).await?.status, 503);
    assert_eq!(Request::get("/").send(app.address()).await?.status, 200);
    app.answer_with(Some(418));
    assert_eq!(Request::get("/").send(app.address()).await?.status, 418);
    assert_eq!(Request::get("/").header("x-app-status", "404").send(app.address()).await?.status, 404);
    app.delay(Duration::from_millis(30));
    assert!(Request::get("/").send(app.address()).await?.took >= Duration::from_millis(30));
    Ok(())
}

#[tokio::test]
async fn a_load_sends_the_number_it_was_told() -> Result<()> {
    let app = App::start("reviews", "v1").await?;
    let tally = Load::new(app.address(), Request::get("/")).workers(3).requests(100).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v1", 1.0)?;
    assert_eq!((tally.total(), app.total()), (100, 100));
    Ok(())
}

#[tokio::test]
async fn a_load_shows_each_answer_once() -> Result<()> {
    let app = App::start("reviews", "v1").await?;
    let versions = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&versions);
    let look = move |answer: &Answer| {
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(answer.version().map(str::to_owned));
    };
    Load::new(app.address(), Request::get("/")).workers(2).requests(10).showing(look).run().await;
    let versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*versions, vec![Some("v1".to_owned()); 10]);
    Ok(())
}

#[tokio::test]
async fn a_load_that_is_stopped_has_lost_no_request() -> Result<()> {
    let app = App::start("reviews", "v1").await?;
    let load = Load::new(app.address(), Request::get("/")).workers(2).start();
    app.wait_for(50, Duration::from_secs(60)).await?;
    let tally = load.stop().await;
    tally.expect_all(200)?;
    assert_eq!(tally.total(), app.total());
    Ok(())
}

#[tokio::test]
async fn requests_to_an_app_that_is_gone_are_failures() -> Result<()> {
    let app = App::start("reviews", "v1").await?;
    let address = app.address();
    drop(app);
    let tally = Load::new(address, Request::get("/")).requests(3).run().await;
    assert_eq!((tally.total(), tally.failed), (3, 3));
    assert!(tally.expect_all(200).is_err());
    Ok(())
}
