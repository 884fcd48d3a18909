//! The stream: created where it is missing, looked at and never altered where it is there.

use std::time::Duration;

use async_nats::jetstream::context::{
    Context, CreateStreamErrorKind, GetStreamErrorKind, RequestErrorKind,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{Error as ApiError, ErrorCode};
use stoat_events::Epoch;

use crate::builder::{NatsRetention, Storage};
use crate::message::Subjects;

/// JetStream cannot store more: its limits, its disk, or those of an account.
pub(crate) const FULL: [u64; 5] = [10023, 10047, 10077, 10122, 10028];

/// What the settings say of the stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamRules {
    pub(crate) name: String,
    pub(crate) subjects: Subjects,
    pub(crate) replicas: usize,
    pub(crate) storage: Storage,
    pub(crate) retention: NatsRetention,
    pub(crate) duplicate_window: Duration,
}

/// Why there is no stream to use.
#[derive(Debug)]
pub(crate) enum NoStream {
    /// It may be there later.
    Yet(String),
    /// Somebody has to change something.
    Ever(String),
}

impl StreamRules {
    /// Finds the stream, or creates it.
    pub(crate) async fn open(&self, context: &Context) -> Result<Info, NoStream> {
        let found = match context.get_stream(&self.name).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if is_not_found(&error) => {
                    return self.create(context).await;
                }
                _ => return Err(NoStream::Yet(error.to_string())),
            },
        };
        let info = found.cached_info().clone();
        self.check(&info.config).map_err(NoStream::Ever)?;
        for difference in self.differences(&info.config) {
            tracing::warn!(stream = %self.name, "{difference}; the stream is used as it is");
        }
        Ok(info)
    }

    async fn create(&self, context: &Context) -> Result<Info, NoStream> {
        match context.create_stream(self.config()).await {
            Ok(stream) => {
                tracing::info!(stream = %self.name, replicas = self.replicas, "the stream was created");
                Ok(stream.cached_info().clone())
            }
            Err(error) => {
                let mut text = format!("the stream {} cannot be created: {error}", self.name);
                let (is_final, is_full) = match error.kind() {
                    CreateStreamErrorKind::JetStream(error) => {
                        (is_final(&error), FULL.contains(&error.error_code().0))
                    }
                    _ => (false, false),
                };
                if let (true, Some(bytes)) = (is_full, self.retention.bytes) {
                    text += &format!(
                        "; let it retain less than {bytes} bytes, or give JetStream more room"
                    );
                }
                Err(if is_final {
                    NoStream::Ever(text)
                } else {
                    NoStream::Yet(text)
                })
            }
        }
    }

    fn config(&self) -> Config {
        let NatsRetention { events, bytes, age } = self.retention;
        let bound = |bound: Option<u64>| bound.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
        Config {
            name: self.name.clone(),
            subjects: vec![self.subjects.all()],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            storage: match self.storage {
                Storage::File => StorageType::File,
                Storage::Memory => StorageType::Memory,
            },
            num_replicas: self.replicas,
            max_messages: bound(events),
            max_bytes: bound(bytes),
            max_messages_per_subject: -1,
            max_message_size: -1,
            max_consumers: -1,
            max_age: age.unwrap_or_default(),
            duplicate_window: self.window(),
            ..Config::default()
        }
    }

    /// JetStream takes no window that is longer than events are kept.
    fn window(&self) -> Duration {
        let age = self.retention.age.unwrap_or(self.duplicate_window);
        self.duplicate_window
            .min(age)
            .max(Duration::from_millis(100))
    }

    /// Says what makes an existing stream useless.
    fn check(&self, config: &Config) -> Result<(), String> {
        let name = &self.name;
        for subject in self.subjects.needed() {
            let is_covered = |pattern: &String| covers(pattern, &subject);
            if !config.subjects.iter().any(is_covered) {
                return Err(format!(
                    "the stream {name} does not take the subject {subject}, only {:?}",
                    config.subjects
                ));
            }
        }
        let fault = if config.retention != RetentionPolicy::Limits {
            "lets go of events that were read: its retention is not `limits`"
        } else if config.max_messages_per_subject > 0 {
            "bounds the messages of each subject, which leaves holes"
        } else if config.mirror.is_some() || config.sealed {
            "takes no messages: it is a mirror, or sealed"
        } else if config.no_ack {
            "acknowledges nothing"
        } else {
            return Ok(());
        };
        Err(format!("the stream {name} {fault}"))
    }

    /// Where an existing stream is other than the settings say.
    fn differences(&self, config: &Config) -> Vec<String> {
        let own = self.config();
        let mut differences = Vec::new();
        let mut look = |what: &str, is: String, set: String| {
            if is != set {
                differences.push(format!("{what} of the stream is {is}, not {set} as set"));
            }
        };
        // All that is not positive stands for no bound.
        let bound = |n: i64| n.max(0).to_string();
        let as_text = |time: Duration| format!("{time:?}");
        look(
            "the number of replicas",
            config.num_replicas.to_string(),
            own.num_replicas.to_string(),
        );
        look(
            "the storage",
            format!("{:?}", config.storage),
            format!("{:?}", own.storage),
        );
        look(
            "the bound on messages",
            bound(config.max_messages),
            bound(own.max_messages),
        );
        look(
            "the bound on bytes",
            bound(config.max_bytes),
            bound(own.max_bytes),
        );
        look(
            "the greatest age",
            as_text(config.max_age),
            as_text(own.max_age),
        );
        look(
            "the window for duplicates",
            as_text(config.duplicate_window),
            as_text(own.duplicate_window),
        );
        differences
    }
}

/// The life of the log: the moment at which its stream was created, in nanoseconds.
pub(crate) fn epoch(info: &Info) -> Epoch {
    Epoch::from_u64(u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default())
}

pub(crate) fn is_not_found(error: &ApiError) -> bool {
    error.error_code() == ErrorCode::STREAM_NOT_FOUND
}

/// Whether trying again is of no use: the request is at fault, and not who is there to serve it.
fn is_final(error: &ApiError) -> bool {
    /// Another server of ours was faster.
    const NAME_IN_USE: ErrorCode = ErrorCode(10058);
    /// Not so many servers are there, yet.
    const NO_PEERS: ErrorCode = ErrorCode(10005);
    error.code() < 500 && ![NAME_IN_USE, NO_PEERS].contains(&error.error_code())
}

/// What an error of a request says of the broker.
pub(crate) fn told(kind: RequestErrorKind) -> &'static str {
    match kind {
        RequestErrorKind::NoResponders => "JetStream is not there: it is off, or has no leader",
        RequestErrorKind::TimedOut => "the stream does not answer",
        _ => "the stream cannot be asked",
    }
}

/// Whether one pattern of subjects takes all that another takes.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut wanted = subject.split('.');
    for token in pattern.split('.') {
        match (token, wanted.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    wanted.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> StreamRules {
        StreamRules {
            name: "stoat".into(),
            subjects: Subjects::new("stoat"),
            replicas: 1,
            storage: Storage::File,
            retention: NatsRetention::default(),
            duplicate_window: Duration::from_secs(600),
        }
    }

    #[test]
    fn patterns_cover_patterns() {
        for (pattern, subject, is_covered) in [
            ("stoat.>", "stoat.event", true),
            ("stoat.>", "stoat.event.>", true),
            (">", "stoat.batch", true),
            ("*.event.>", "stoat.event.>", true),
            ("stoat.*", "stoat.event", true),
            ("stoat.*", "stoat.event.>", false),
            ("stoat.event", "stoat.event.>", false),
            ("stoat.event.*", "stoat.event.>", false),
            ("stoat.>", "stoat", false),
            ("stoat.event.>", "stoat.event", false),
            ("other.>", "stoat.event", false),
        ] {
            assert_eq!(covers(pattern, subject), is_covered, "{pattern} {subject}");
        }
    }

    #[test]
    fn what_is_created_is_good_and_the_same() {
        let rules = rules();
        assert_eq!(rules.check(&rules.config()), Ok(()));
        assert!(rules.differences(&rules.config()).is_empty());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let rules = rules();
        let with = |change: fn(&mut Config)| {
            let mut config = rules.config();
            change(&mut config);
            rules.check(&config).unwrap_err()
        };
        let subjects = with(|config| config.subjects = vec!["stoat.event.*".into()]);
        assert!(
            subjects.contains("does not take the subject stoat.event,"),
            "{subjects}"
        );
        with(|config| config.retention = RetentionPolicy::WorkQueue);
        with(|config| config.max_messages_per_subject = 1);
        with(|config| config.sealed = true);
        with(|config| config.no_ack = true);
    }

    #[test]
    fn what_differs_is_told() {
        let rules = rules();
        let mut config = rules.config();
        config.num_replicas = 3;
        config.max_age = Duration::from_secs(60);
        let differences = rules.differences(&config);
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(differences[0].contains("is 3, not 1"), "{differences:?}");
    }

    #[test]
    fn the_window_is_never_longer_than_events_are_kept() {
        let mut rules = rules();
        rules.retention.age = Some(Duration::from_secs(60));
        assert_eq!(rules.config().duplicate_window, Duration::from_secs(60));
    }
}
