//! The example service that embeds the hub: real work on a real directory, and the
//! request behind each event.

use std::fs;

use serde_json::json;
use stoat_tests::{Client, Request, Server};

#[tokio::test]
async fn a_scan_tells_its_start_and_its_result_with_the_id_of_its_request() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("deep/deeper")).unwrap();
    fs::write(folder.path().join("one"), "12345").unwrap();
    fs::write(folder.path().join("deep/two"), "x".repeat(1000)).unwrap();
    fs::write(folder.path().join("deep/deeper/three"), "").unwrap();
    let path = folder.path().to_str().unwrap();

    let server = Server::library_service();
    let mut watcher = server.client().await;
    let answer = Request::new("POST", "/scan")
        .header("X-Correlation-ID", "scan-1")
        .body("application/json", json!({ "path": path }).to_string())
        .send(&server)
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("x-correlation-id"), Some("scan-1"));
    let cursor = answer.header("x-stoat-cursor").unwrap();

    let (started, completed) = (watcher.event().await, watcher.event().await);
    assert_eq!(started.event_type, "scan_started");
    assert_eq!(started.value(), json!({ "path": path }));
    assert_eq!(completed.event_type, "scan_completed");
    let expected = json!({ "path": path, "files": 3, "bytes": 1005 });
    assert_eq!(completed.value(), expected);
    for event in [&started, &completed] {
        assert_eq!(event.correlation_id.as_deref(), Some("scan-1"));
    }

    // Who subscribes from the answer's cursor misses nothing of the scan.
    let target = format!("/ws?last_event_id={cursor}");
    let mut late = Client::connect(&server, &target).await;
    assert_eq!(late.event().await.id, started.id);
    assert_eq!(late.event().await.id, completed.id);
}

#[tokio::test]
async fn a_project_is_announced_with_the_id_of_its_request() {
    let server = Server::library_service();
    let mut watcher = server.client().await;
    for name in ["apollo", "gemini"] {
        let answer = Request::new("POST", "/projects")
            .header("X-Correlation-ID", name)
            .body("application/json", json!({ "name": name }).to_string())
            .send(&server)
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(answer.header("x-stoat-cursor").is_some());
        let event = watcher.event().await;
        assert_eq!(event.event_type, "project_created");
        assert_eq!(event.value(), json!({ "name": name }));
        assert_eq!(event.correlation_id.as_deref(), Some(name));
    }
}

#[tokio::test]
async fn two_scans_at_once_keep_their_ids_apart() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let server = Server::library_service();
    let mut watcher = server.client().await;
    for (n, folder) in folders.iter().enumerate() {
        fs::write(folder.path().join("file"), "x").unwrap();
        let answer = Request::new("POST", "/scan")
            .header("X-Correlation-ID", &format!("scan-{n}"))
            .body(
                "application/json",
                json!({ "path": folder.path() }).to_string(),
            )
            .send(&server)
            .await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    for event in watcher.events(4).await {
        let value = event.value();
        let n = folders
            .iter()
            .position(|folder| value["path"] == json!(folder.path()))
            .unwrap();
        assert_eq!(event.correlation_id, Some(format!("scan-{n}")));
    }
}

#[tokio::test]
async fn what_is_no_directory_is_refused_and_announces_nothing() {
    let server = Server::library_service();
    let mut watcher = server.client().await;
    let answer = Request::new("POST", "/scan")
        .body("application/json", r#"{"path":"/no/such/directory"}"#)
        .send(&server)
        .await;
    assert_eq!(answer.status, 422);
    let answer = Request::new("POST", "/projects")
        .body("application/json", r#"{"name":"only"}"#)
        .send(&server)
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(watcher.event().await.event_type, "project_created");
}
