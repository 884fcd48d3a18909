//! Reading the WebSocket protocol, without a socket: bytes in, messages and answers out.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use hyper_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use hyper_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use hyper_tungstenite::tungstenite::{Bytes, Error, Message, WebSocket};

use super::frame_guard::FrameGuard;
use crate::close::Close;

/// tungstenite over two byte queues in place of a socket. Each of its writes lands
/// whole in the output, so the output always ends at a frame boundary.
///
/// Most clients say nothing most of the time, so it is there only while something is
/// under way: between two messages it has no state that would be missed.
pub(super) struct Protocol {
    socket: Option<Box<WebSocket<Pipe>>>,
    guard: FrameGuard,
    state: State,
    output: Vec<u8>,
    max_message: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Our Close frame is in the output; the peer's has not come.
    CloseSent,
    /// The peer's Close frame has come, or a fault, and ours is in the output.
    Closed,
}

/// What the peer said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A complete text message.
    Text(String),
    /// A complete binary message.
    Binary(Bytes),
}

/// What is said to a message, before anything that came after it is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Text(Cow<'static, str>),
    #[cfg(feature = "echo")]
    Binary(Bytes),
}

impl From<Answer> for Message {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Text(text) => Self::text(text.into_owned()),
            #[cfg(feature = "echo")]
            Answer::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

#[cfg(feature = "echo")]
impl From<Incoming> for Answer {
    fn from(message: Incoming) -> Self {
        match message {
            Incoming::Text(text) => Self::Text(text.into()),
            Incoming::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

/// How many frames there were in a piece of input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Frames {
    /// Those that ended.
    pub(super) ended: usize,
    /// The control frames among those that began.
    pub(super) controls: usize,
}

#[derive(Debug, Default)]
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Protocol {
    pub(super) fn new(max_message: usize) -> Self {
        Self {
            socket: None,
            guard: FrameGuard::new(max_message),
            state: State::Open,
            output: Vec::new(),
            max_message,
        }
    }

    /// Takes bytes from the peer, hands its messages to `on_message`, and queues
    /// the answers to them, to its pings and to its Close.
    ///
    /// # Errors
    /// With what to close the connection; the input after the fault is dropped.
    pub(super) fn receive(
        &mut self,
        input: &[u8],
        mut on_message: impl FnMut(Incoming) -> Option<Answer>,
    ) -> Result<Frames, Close> {
        if self.state == State::Closed {
            return Ok(Frames::default());
        }
        let verdict = self.guard.check(input);
        let state = &mut self.state;
        let good = &input[..verdict.good];
        let read = with_socket(
            &mut self.socket,
            self.max_message,
            &mut self.output,
            |socket| {
                socket.get_mut().input.extend_from_slice(good);
                read_messages(socket, state, &mut on_message)
            },
        );
        self.rest();
        read?;
        match verdict.refused {
            Some(close) if self.state != State::Closed => Err(close),
            _ => Ok(verdict.frames),
        }
    }

    /// Queues a ping.
    pub(super) fn send_ping(&mut self) {
        if self.state == State::Open {
            self.write(Message::Ping(Bytes::new()));
            self.rest();
        }
    }

    /// Queues our Close frame, unless there was one.
    pub(super) fn close(&mut self, close: &Close) {
        let reason: &str = &close.text;
        let frame = CloseFrame {
            code: CloseCode::from(close.code),
            reason: reason.into(),
        };
        let message = Message::Close(Some(frame));
        if self.state == State::Open {
            // It waits for the peer's, so it does not rest.
            self.state = State::CloseSent;
            self.write(message);
        }
    }

    fn write(&mut self, message: Message) {
        with_socket(
            &mut self.socket,
            self.max_message,
            &mut self.output,
            |socket| {
                // The pipe takes everything, so this fails only after a Close.
                let _ = socket.send(message);
            },
        );
    }

    /// Lets go of tungstenite where nothing is under way.
    fn rest(&mut self) {
        if self.state == State::Closed || (self.state == State::Open && self.guard.is_at_rest()) {
            self.socket = None;
        }
    }

    /// Queues our Close frame, unless there was one, and listens no more: what comes
    /// after a fault means nothing (RFC 6455 section 7.1.7).
    pub(super) fn fail(&mut self, close: &Close) {
        self.close(close);
        self.state = State::Closed;
        self.rest();
    }

    /// The connection is at its end, once the output is written.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The queued output, whole frames, in bytes.
    pub(super) fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Takes the queued output.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Puts output back that was taken and not begun.
    pub(super) fn put_back(&mut self, mut earlier: Vec<u8>) {
        earlier.append(&mut self.output);
        self.output = earlier;
    }
}

/// Does something with tungstenite, made where it is not there, and takes its output.
fn with_socket<T>(
    socket: &mut Option<Box<WebSocket<Pipe>>>,
    max_message: usize,
    output: &mut Vec<u8>,
    act: impl FnOnce(&mut WebSocket<Pipe>) -> T,
) -> T {
    let socket = socket.get_or_insert_with(|| {
        let config = WebSocketConfig::default()
            .read_buffer_size(128)
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let socket = WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config));
        Box::new(socket)
    });
    let result = act(socket);
    output.append(&mut socket.get_mut().output);
    result
}

fn read_messages(
    socket: &mut WebSocket<Pipe>,
    state: &mut State,
    on_message: &mut impl FnMut(Incoming) -> Option<Answer>,
) -> Result<(), Close> {
    loop {
        let said = match socket.read() {
            Ok(Message::Text(text)) => Incoming::Text(text.as_str().to_owned()),
            Ok(Message::Binary(bytes)) => Incoming::Binary(bytes),
            Ok(Message::Close(_)) => {
                *state = State::Closed;
                // Queues our half where the peer closed first.
                let _ = socket.flush();
                return Ok(());
            }
            Ok(_) => continue,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(Error::Capacity(_)) => return Err(Close::message_too_big()),
            Err(Error::Utf8(_)) => return Err(Close::invalid_utf8()),
            Err(_) => return Err(Close::protocol_error("broken frame")),
        };
        if *state == State::Open
            && let Some(answer) = on_message(said)
        {
            // The pipe takes everything.
            let _ = socket.send(answer.into());
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = buffer.len().min(self.input.len());
        buffer[..len].copy_from_slice(&self.input[..len]);
        self.input.drain(..len);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [9, 8, 7, 6];
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
        frame.extend(mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        frame
    }

    fn receive(protocol: &mut Protocol, input: &[u8]) -> (Vec<Incoming>, Result<usize, Close>) {
        let mut messages = Vec::new();
        let result = protocol.receive(input, |message| {
            let answer = (message == Incoming::Text("?".into())).then(|| Answer::Text("!".into()));
            messages.push(message);
            answer
        });
        (messages, result.map(|frames| frames.ended))
    }

    #[test]
    fn messages_and_pongs() {
        let mut protocol = Protocol::new(1000);
        let mut input = masked(0x81, b"hello");
        input.extend(masked(0x89, b"beat"));
        input.extend(masked(0x01, b"in "));
        input.extend(masked(0x80, b"two"));
        input.extend(masked(0x82, b"x"));
        let (messages, result) = receive(&mut protocol, &input);
        assert_eq!(
            messages,
            [
                Incoming::Text("hello".into()),
                Incoming::Text("in two".into()),
                Incoming::Binary(Bytes::from_static(b"x"))
            ]
        );
        assert_eq!(result, Ok(5));
        assert_eq!(protocol.take_output(), b"\x8a\x04beat");
    }

    #[test]
    fn a_close_is_echoed_and_ends_it() {
        let mut protocol = Protocol::new(1000);
        let mut input = masked(0x88, b"\x03\xe8bye");
        input.extend(masked(0x81, b"too late"));
        let (messages, result) = receive(&mut protocol, &input);
        assert!(messages.is_empty() && result.is_ok());
        assert!(protocol.is_closed());
        assert_eq!(protocol.take_output(), b"\x88\x05\x03\xe8bye");
        assert_eq!(receive(&mut protocol, b"anything").1, Ok(0));
    }

    #[test]
    fn our_close_waits_for_theirs() {
        let mut protocol = Protocol::new(1000);
        protocol.close(&Close::by_operator());
        protocol.close(&Close::no_pong());
        assert_eq!(protocol.take_output()[..4], [0x88, 24, 0x03, 0xf0]);
        assert!(!protocol.is_closed());
        protocol.send_ping();
        // What was under way is read and ignored.
        let (messages, _) = receive(&mut protocol, &masked(0x81, b"?"));
        assert!(messages.is_empty());
        receive(&mut protocol, &masked(0x88, b"\x03\xf0"))
            .1
            .unwrap();
        assert!(protocol.is_closed());
        assert_eq!(protocol.output_len(), 0);
    }

    #[test]
    fn faults_have_their_codes() {
        let code = |input: &[u8]| receive(&mut Protocol::new(1000), input).1.unwrap_err().code;
        assert_eq!(code(&masked(0x81, b"\xff")), 1007);
        assert_eq!(code(&masked(0x88, b"x")), 1002);
        assert_eq!(code(&[0x81, 0x01]), 1002);
        assert_eq!(code(&[0x81, 0x80 | 126, 0xff, 0xff]), 1009);
        // What came in order before the fault is heard.
        let mut input = masked(0x81, b"good");
        input.push(0xff);
        let (messages, result) = receive(&mut Protocol::new(1000), &input);
        assert_eq!((messages.len(), result.unwrap_err().code), (1, 1002));
    }

    #[test]
    fn output_put_back_stays_in_order() {
        let mut protocol = Protocol::new(1000);
        protocol.send_ping();
        let taken = protocol.take_output();
        receive(&mut protocol, &masked(0x81, b"?")).1.unwrap();
        protocol.put_back(taken);
        assert_eq!(protocol.take_output(), b"\x89\x00\x81\x01!");
    }

    #[test]
    fn a_question_is_answered_before_the_close_that_follows_it() {
        let mut protocol = Protocol::new(1000);
        let mut input = masked(0x81, b"?");
        input.extend(masked(0x89, b"p"));
        input.extend(masked(0x88, b"\x03\xe8"));
        receive(&mut protocol, &input).1.unwrap();
        assert_eq!(
            protocol.take_output(),
            b"\x81\x01!\x8a\x01p\x88\x02\x03\xe8"
        );
    }

    proptest! {
        #[test]
        fn any_input_in_any_pieces_is_survived(
            input in proptest::collection::vec(any::<u8>(), 0..400),
            step in 1usize..50,
        ) {
            let mut protocol = Protocol::new(200);
            for piece in input.chunks(step) {
                if let (_, Err(close)) = receive(&mut protocol, piece) {
                    protocol.fail(&close);
                }
            }
            prop_assert!(protocol.output_len() < 4096);
        }
    }
}
