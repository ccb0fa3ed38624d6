//! One program at the door: what it may do now, and what is under way.

use std::collections::BTreeSet;

use crate::body::Take;
use crate::error::{DoorError, ErrorKind};
use crate::limits::{MAX_CALLS, MAX_MALFORMED, MAX_NAME, MAX_REQUESTS};
use crate::lines::LineTooLong;
use crate::node::FromNode;
use crate::program::FromProgram;

/// The state of one program, as a pure state machine: lines go in with [`receive`](Self::receive); what each means, or the line
/// that answers it, comes out at once. Whoever carries requests out says when one has [`finished`](Self::finished).
#[derive(Debug, Default, Clone)]
pub struct Session {
    name: Option<String>,
    malformed: usize,
    requests: BTreeSet<u64>,
    calls: BTreeSet<u64>,
    next_call: u64,
}

/// A line that is not carried out.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What the program is told.
    pub answer: Box<FromNode>,
    /// Whether it is cut off then.
    pub close: bool,
}

impl Session {
    /// The name that the program gave itself; `None` before its `hello`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Takes a line. `None`: it is in order, and nothing is to be done, as of a response that comes too late.
    ///
    /// # Errors
    /// It is no message, or one that is not allowed now: the answer says why.
    pub fn receive(&mut self, line: &[u8], take: &mut Take<'_>) -> Result<Option<FromProgram>, Refusal> {
        let message = FromProgram::decode(line, take).map_err(|wrong| match wrong.uid {
            // Only what means nothing at all counts: other errors are for the program to handle.
            Some(uid) if self.name.is_some() && !self.requests.contains(&uid) => answer(uid, wrong.error),
            uid => self.garbage(wrong.error, uid),
        })?;
        match &message {
            FromProgram::Hello { name, .. } => self.hello(name)?,
            _ if self.name.is_none() => {
                let error = DoorError::new(ErrorKind::HelloFirst, "the first message must be hello");
                return Err(Refusal::new(FromNode::Error { error: error.into(), uid: None }, true));
            }
            FromProgram::Response { uid, .. } | FromProgram::End { uid, .. } => {
                let due = self.awaited(*uid)?;
                self.calls.remove(uid);
                return Ok(due.then_some(message));
            }
            FromProgram::Item { uid, .. } => return Ok(self.awaited(*uid)?.then_some(message)),
            _ => {}
        }
        if let Some(uid) = message.request() {
            self.begin(uid)?;
        }
        Ok(Some(message))
    }

    /// A request has been answered for good. Gives whether it was under way.
    pub fn finished(&mut self, uid: u64) -> bool {
        self.requests.remove(&uid)
    }

    /// Requests under way.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// The number for a call to the program; `None` if it has as many as it may.
    pub fn call(&mut self) -> Option<u64> {
        if self.calls.len() >= MAX_CALLS {
            return None;
        }
        let uid = self.next_call;
        self.next_call += 1;
        self.calls.insert(uid);
        Some(uid)
    }

    /// Nobody waits for the response to a call any more. Gives whether it was still to come.
    pub fn give_up(&mut self, uid: u64) -> bool {
        self.calls.remove(&uid)
    }

    /// The answer to a line that is too long: the last.
    pub fn too_long(error: LineTooLong) -> Refusal {
        let error = DoorError::new(ErrorKind::TooLarge, error.to_string());
        Refusal::new(FromNode::Error { error: error.into(), uid: None }, true)
    }

    fn hello(&mut self, name: &str) -> Result<(), Refusal> {
        let wrong = if self.name.is_some() {
            DoorError::new(ErrorKind::Malformed, "hello was said already")
        } else if name.len() > MAX_NAME || name.is_empty() || name.chars().any(char::is_control) {
            DoorError::new(ErrorKind::BadName, format!("a program's name is 1 to {MAX_NAME} bytes, and plain text"))
        } else {
            self.name = Some(name.to_owned());
            return Ok(());
        };
        let close = self.name.is_none();
        Err(Refusal::new(FromNode::Error { error: wrong.into(), uid: None }, close))
    }

    fn begin(&mut self, uid: u64) -> Result<(), Refusal> {
        if self.requests.contains(&uid) {
            // A response would be taken for that to the other.
            let error = DoorError::new(ErrorKind::Malformed, format!("the request {uid} is still under way"));
            return Err(self.garbage(error, Some(uid)));
        }
        if self.requests.len() >= MAX_REQUESTS {
            let why = format!("a program may have {MAX_REQUESTS} requests under way; try again when some are done");
            return Err(answer(uid, DoorError::new(ErrorKind::TooMany, why)));
        }
        self.requests.insert(uid);
        Ok(())
    }

    /// Whether somebody waits for what a call gives.
    fn awaited(&mut self, uid: u64) -> Result<bool, Refusal> {
        if uid < self.next_call {
            return Ok(self.calls.contains(&uid));
        }
        let error = DoorError::new(ErrorKind::Malformed, format!("there was no call {uid}"));
        Err(self.garbage(error, Some(uid)))
    }

    fn garbage(&mut self, error: DoorError, uid: Option<u64>) -> Refusal {
        self.malformed += 1;
        let close = self.malformed >= MAX_MALFORMED;
        Refusal::new(FromNode::Error { error: error.into(), uid }, close)
    }
}

impl Refusal {
    fn new(answer: FromNode, close: bool) -> Self {
        Refusal { answer: Box::new(answer), close }
    }
}

fn answer(uid: u64, error: DoorError) -> Refusal {
    Refusal::new(FromNode::failed(uid, error.into()), false)
}

#[cfg(test)]
mod tests {
    use atoll::object::{Function, ValueError};
    use serde_json::{Value, json};

    use super::*;
    use crate::body::Mention;

    fn no_functions(_: Mention) -> Result<Function, ValueError> {
        Err(ValueError::TooManyFunctions)
    }

    fn receive(session: &mut Session, line: &str) -> Result<Option<FromProgram>, (Value, bool)> {
        session
            .receive(line.as_bytes(), &mut no_functions)
            .map_err(|refusal| (serde_json::from_slice(&refusal.answer.encode().unwrap()).unwrap(), refusal.close))
    }

    fn greeted() -> Session {
        let mut session = Session::default();
        receive(&mut session, r#"{"type":"hello","name":"Test","init":true}"#).unwrap();
        session
    }

    #[test]
    fn hello_comes_first_and_once() {
        let mut session = Session::default();
        let (said, close) = receive(&mut session, r#"{"type":"list","uid":1}"#).unwrap_err();
        assert_eq!((&said["error"]["kind"], close), (&json!("hello-first"), true));
        let mut session = greeted();
        assert_eq!(session.name(), Some("Test"));
        let (said, close) = receive(&mut session, r#"{"type":"hello","name":"Other"}"#).unwrap_err();
        assert_eq!((&said["error"]["message"], close), (&json!("hello was said already"), false));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_number_of_its_request() {
        let deep = format!(
            r#"{{"type":"call","fun":"f","name":"S","args":{}{},"uid":7}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        for (line, kind, message) in [
            (r#"{"type":"dance","uid":7}"#, "malformed", "there is no message of type \"dance\""),
            (r#"{"type":"call","uid":7,"name":"S"}"#, "malformed", "fun is missing"),
            (r#"{"type":"call","uid":7,"name":"S","fun":"f","args":{}}"#, "malformed", "args is a list"),
            (r#"{"type":"get","uid":7,"name":5}"#, "malformed", "not a message"),
            (&deep, "too-large", "nested deeper"),
        ] {
            let (said, close) = receive(&mut greeted(), line).unwrap_err();
            let seen = (&said["type"], &said["uid"], &said["error"]["kind"], close);
            assert_eq!(seen, (&json!("response"), &json!(7), &json!(kind), false), "{said}");
            assert!(said["error"]["message"].as_str().unwrap().contains(message), "{said}");
        }
    }

    #[test]
    fn garbage_is_told_and_in_the_end_not_borne_any_more() {
        let mut session = greeted();
        for line in 1..=MAX_MALFORMED {
            let (said, close) = receive(&mut session, "GET / HTTP/1.1").unwrap_err();
            assert_eq!((&said["type"], close), (&json!("error"), line == MAX_MALFORMED), "line {line}: {said}");
        }
    }

    #[test]
    fn requests_are_bounded_and_numbers_of_those_under_way_not_used_again() {
        let mut session = greeted();
        let get = |uid| format!(r#"{{"type":"get","remote":"00f3a1b2c4d5","name":"S","uid":{uid}}}"#);
        for uid in 0..MAX_REQUESTS {
            receive(&mut session, &get(uid)).unwrap();
        }
        let (said, _) = receive(&mut session, &get(3)).unwrap_err();
        assert_eq!((&said["type"], &said["uid"]), (&json!("error"), &json!(3)), "{said}");
        let (said, _) = receive(&mut session, &get(MAX_REQUESTS)).unwrap_err();
        assert_eq!(said["error"]["kind"], "too-many", "{said}");
        assert!(session.finished(3) && !session.finished(3));
        receive(&mut session, &get(3)).unwrap();
    }

    #[test]
    fn a_response_needs_a_call_and_a_late_one_is_passed_over() {
        let mut session = greeted();
        let response = |uid| format!(r#"{{"type":"response","status":"ok","uid":{uid},"ret":"$$x"}}"#);
        let uid = session.call().unwrap();
        let Ok(Some(FromProgram::Response { result, .. })) = receive(&mut session, &response(uid)) else { panic!() };
        assert_eq!(result, Ok("$x".into()));
        assert_eq!(receive(&mut session, &response(uid)), Ok(None));
        let (said, _) = receive(&mut session, &response(99)).unwrap_err();
        assert_eq!(said["error"]["message"], "there was no call 99");
        let given_up = session.call().unwrap();
        assert!(session.give_up(given_up));
        assert_eq!(receive(&mut session, &response(given_up)), Ok(None));
    }

    #[test]
    fn a_call_has_any_number_of_results_until_its_end() {
        let mut session = greeted();
        let uid = session.call().unwrap();
        let item = |uid| format!(r#"{{"type":"item","uid":{uid},"value":7}}"#);
        for _ in 0..3 {
            assert_eq!(receive(&mut session, &item(uid)), Ok(Some(FromProgram::Item { uid, value: 7.into() })));
        }
        let end = format!(r#"{{"type":"end","uid":{uid}}}"#);
        assert_eq!(receive(&mut session, &end), Ok(Some(FromProgram::End { uid, error: None })));
        assert_eq!(receive(&mut session, &item(uid)), Ok(None), "nobody waits for more");
        assert_eq!(receive(&mut session, &end), Ok(None));
        let (said, _) = receive(&mut session, &item(99)).unwrap_err();
        assert_eq!(said["error"]["message"], "there was no call 99");
    }
}
