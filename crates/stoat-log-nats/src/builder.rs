//! Setting up a log on JetStream.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ConnectOptions;
use stoat_events::Retention;

use crate::message::Subjects;
use crate::stream::StreamRules;
use crate::{NatsLog, OpenError, Servers};

/// How much the stream retains, where this log creates it. The first bound that is reached
/// evicts the oldest events; a batch counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatsRetention {
    /// The most messages; `None` for no bound.
    pub events: Option<u64>,
    /// The most bytes, as the stream counts them; `None` for no bound.
    pub bytes: Option<u64>,
    /// The greatest age; `None` for no bound.
    pub age: Option<Duration>,
}

/// Any number of events, 1 GiB, 7 days.
impl Default for NatsRetention {
    fn default() -> Self {
        Self {
            events: None,
            bytes: Some(1 << 30),
            age: Some(Duration::from_secs(7 * 24 * 60 * 60)),
        }
    }
}

/// Where a stream that this log creates keeps its messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// On the disks of the NATS servers.
    #[default]
    File,
    /// In their memory.
    Memory,
}

/// Sets up a [`NatsLog`].
#[derive(Clone)]
pub struct NatsLogBuilder {
    servers: Servers,
    stream: String,
    subject: String,
    replicas: usize,
    storage: Storage,
    retention: NatsRetention,
    credentials: Option<PathBuf>,
    root_certificates: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    memory: Retention,
    max_event: usize,
    idempotency_ttl: Duration,
    publish_timeout: Duration,
    pack: bool,
}

/// What the log itself has to know.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) stream: StreamRules,
    pub(crate) max_event: usize,
    pub(crate) publish_timeout: Duration,
    pub(crate) pack: bool,
    pub(crate) memory: Retention,
}

impl NatsLogBuilder {
    pub(crate) fn new(servers: Servers) -> Self {
        Self {
            servers,
            stream: "stoat".to_owned(),
            subject: "stoat".to_owned(),
            replicas: 1,
            storage: Storage::default(),
            retention: NatsRetention::default(),
            credentials: None,
            root_certificates: None,
            client_certificate: None,
            memory: Retention::default(),
            max_event: 64 << 10,
            idempotency_ttl: Duration::from_secs(600),
            publish_timeout: Duration::from_secs(5),
            pack: true,
        }
    }

    /// The name of the stream; `stoat` by default.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = name.into();
        self
    }

    /// What the subjects of the log begin with; `stoat` by default.
    pub fn subject(mut self, prefix: impl Into<String>) -> Self {
        self.subject = prefix.into();
        self
    }

    /// How many servers of the cluster keep the stream, where it is created; 1 by default.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Where the stream is kept, where it is created; on disk by default.
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// How much the stream retains, where it is created; see [`NatsRetention`] for the default.
    pub fn retention(mut self, retention: NatsRetention) -> Self {
        self.retention = retention;
        self
    }

    /// A file with credentials, as `nsc` writes it.
    pub fn credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(file.into());
        self
    }

    /// A PEM file with the certificates that the servers' are signed with; those of the
    /// system by default.
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.root_certificates = Some(file.into());
        self
    }

    /// PEM files with a certificate of this client and its key.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// How much of the newest is held in memory, so that most readers need no broker; see
    /// [`Retention`] for the default.
    pub fn memory(mut self, memory: Retention) -> Self {
        self.memory = memory;
        self
    }

    /// The longest JSON text of one event that is appended, in bytes; 64 KiB by default.
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// How long an idempotency key is remembered: the stream's window for duplicates, where
    /// the stream is created; 600 s by default.
    pub fn idempotency_ttl(mut self, ttl: Duration) -> Self {
        self.idempotency_ttl = ttl;
        self
    }

    /// The most time for one append, whatever the broker does; 5 s by default.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// Whether single events of a topic that wait for those before them travel together, as one
    /// message at `PREFIX.batch.TOPIC`: many publishers at a time get several times as much
    /// through. `true` by default; with `false` each event is a message at `PREFIX.event.TOPIC`.
    /// Events under an idempotency key always are.
    pub fn pack(mut self, pack: bool) -> Self {
        self.pack = pack;
        self
    }

    /// Opens the log: connects, finds or creates the stream, and reads its end, all in the
    /// background and for as long as it takes. Wait for [`NatsLog::opened`].
    ///
    /// # Errors
    /// [`OpenError`]: a name or a file cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(self) -> Result<NatsLog, OpenError> {
        let token = |text: &str| {
            let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            !text.is_empty() && text.len() <= 200 && text.chars().all(is_good)
        };
        if !token(&self.stream) {
            return Err(OpenError::name("name of a stream", &self.stream));
        }
        if self.subject.len() > 200 || !self.subject.split('.').all(token) {
            return Err(OpenError::name("subject", &self.subject));
        }
        let mut options = self.servers.log_in(ConnectOptions::new());
        if let Some(file) = &self.credentials {
            let text = read(file)?;
            options = options.credentials(&text).map_err(|_| {
                OpenError::file(
                    file,
                    &"no credentials of NATS, with a JWT and a seed, are in it",
                )
            })?;
        }
        if let Some(file) = &self.root_certificates {
            read(file)?;
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.client_certificate {
            read(certificate)?;
            read(key)?;
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let rules = Rules {
            stream: StreamRules {
                name: self.stream,
                subjects: Subjects::new(&self.subject),
                replicas: self.replicas,
                storage: self.storage,
                retention: self.retention,
                duplicate_window: self.idempotency_ttl,
            },
            max_event: self.max_event,
            publish_timeout: self.publish_timeout,
            pack: self.pack,
            memory: self.memory,
        };
        Ok(NatsLog::start(rules, self.servers, options))
    }
}

/// A file that cannot be read is told now, and not with each attempt to connect.
fn read(file: &Path) -> Result<String, OpenError> {
    std::fs::read_to_string(file).map_err(|error| OpenError::file(file, &error))
}

impl fmt::Debug for NatsLogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsLogBuilder")
            .field("servers", &self.servers)
            .field("stream", &self.stream)
            .field("subject", &self.subject)
            .field("replicas", &self.replicas)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
