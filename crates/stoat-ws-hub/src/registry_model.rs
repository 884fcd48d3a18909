//! The registry as connections come and go at once, in many orders.

use shuttle::future::block_on;
use shuttle::thread;

use super::*;

/// How many orders are tried.
const ORDERS: usize = 2000;

fn newcomer(remote_addr: SocketAddr) -> Newcomer {
    Newcomer {
        remote_addr,
        user_agent: None,
        filter: Filter::all(),
        newest: 0,
        cursor: 0,
    }
}

/// Three come at once, two from one address; returns how many were let in.
fn come_and_go(registry: &Arc<Registry>, config: &Arc<HubConfig>) -> usize {
    let connections = [1, 1, 2].map(|host| {
        let (registry, config) = (Arc::clone(registry), Arc::clone(config));
        thread::spawn(move || {
            let remote_addr = ([127, 0, 0, host], 1).into();
            let Ok(place) = registry.admit(remote_addr, &config) else {
                return false;
            };
            assert!(registry.active() <= config.max_connections);
            thread::yield_now();
            let membership = place.register(newcomer(remote_addr));
            assert!(registry.find(membership.member.id).is_some());
            thread::yield_now();
            membership.end(DisconnectReason::ClientClosed);
            true
        })
    });
    let admitted = connections.map(|connection| connection.join().unwrap());
    admitted.into_iter().filter(|admitted| *admitted).count()
}

fn config(max_connections: usize, per_ip: Option<usize>) -> Arc<HubConfig> {
    Arc::new(HubConfig {
        max_connections,
        max_connections_per_ip: per_ip,
        ..HubConfig::default()
    })
}

#[test]
fn limits_hold_and_every_place_comes_back() {
    shuttle::check_random(
        || {
            for (most, per_ip, least) in [(2, None, 2), (3, Some(1), 2), (3, None, 3)] {
                let registry = Arc::new(Registry::default());
                let admitted = come_and_go(&registry, &config(most, per_ip));
                assert!(admitted >= least, "{admitted} of {most}");
                assert_eq!(registry.active(), 0);
                assert!(registry.members().is_empty() && registry.per_address.is_empty());
            }
        },
        ORDERS,
    );
}

#[test]
fn a_drain_sees_the_last_one_go() {
    shuttle::check_random(
        || {
            let registry = Arc::new(Registry::default());
            let config = config(10, None);
            let first = ([127, 0, 0, 9], 1).into();
            let place = registry.admit(first, &config).unwrap();
            let drain = {
                let registry = Arc::clone(&registry);
                // One that misses the end is a deadlock, which the scheduler sees.
                thread::spawn(move || block_on(registry.wait_until_empty()))
            };
            let membership = place.register(newcomer(first));
            come_and_go(&registry, &config);
            membership.end(DisconnectReason::Shutdown);
            drain.join().unwrap();
        },
        ORDERS,
    );
}
