//! A member with a few neighbours, fed messages of the store: of every kind, well made and not, from near and far, with time between them.
//!
//! It must not panic, keep to its quotas, answer every request of its application, and keep nothing that does not prove itself.
#![no_main]

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use atoll::proto::{Config, Input, LinkId, Output, Proto, Quotas, Time, Token};
use atoll::record::{Place, Record, Seconds};
use atoll::wire::{
    Ask, Dial, Flags, Frame, Header, Listed, MAX_FRAME, MAX_PARCEL_PARTS, Message, Outcome, PART_BYTES, Parcel, Part,
    Purpose, Replicate, Role, Step, Store, StoreRefusal, Stored, Via,
};
use atoll::{Id, Identity};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

const ME: Id = Id::new(1000);

/// Who has a link to the node; the first and the second stand beside it.
const NEIGHBOURS: [u64; 4] = [1001, 999, 5000, 0x8000_0000_0000];

const QUOTAS: Quotas = Quotas {
    records: 20,
    bytes: 200_000,
    records_per_writer: 5,
    bytes_per_writer: 100_000,
    records_per_arc: 15,
    bytes_per_arc: 150_000,
};

fuzz_target!(|bytes: &[u8]| {
    // The input ends where it ends.
    let _ = live(&mut Unstructured::new(bytes));
});

fn live(input: &mut Unstructured<'_>) -> Result<()> {
    let mut life = Life::begin(input)?;
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        life.event(input)?;
        life.check();
    }
    // Every request is answered in time.
    life.pass(Duration::from_secs(11));
    assert!(life.unanswered.is_empty(), "not answered: {:?}", life.unanswered);
    Ok(())
}

struct Life {
    proto: Proto,
    now: Time,
    links: Vec<(LinkId, Id)>,
    next_token: u64,
    unanswered: BTreeSet<Token>,
    /// Where there is a disk: the number of the last record that it is to save.
    to_save: Option<u64>,
}

impl Life {
    fn begin(input: &mut Unstructured<'_>) -> Result<Self> {
        let mut config = Config::with_links(16);
        (config.quotas, config.heartbeat_every) = (QUOTAS, Duration::ZERO);
        let now = Time(1_000_000_000);
        let mut proto = Proto::new(ME, config, input.arbitrary()?, now);
        let to_save = input.ratio(1, 2)?.then_some(0);
        if to_save.is_some() {
            proto.load_records([record(input, now)?], now);
        }
        proto.handle(Input::Members { found: true, members: Vec::new() }, now);
        let mut life = Life { proto, now, links: Vec::new(), next_token: 0, unanswered: BTreeSet::new(), to_save };
        for peer in NEIGHBOURS.map(Id::new) {
            let step = Step::Request { role: Role::Member, purpose: Purpose::Ring };
            life.proto.handle(Input::Signal { from: peer, dial: Dial { attempt: 1, step } }, now);
            for output in std::iter::from_fn(|| life.proto.poll_output()).collect::<Vec<_>>() {
                if let Output::Connect { link, .. } = output {
                    life.links.push((link, peer));
                }
            }
            if let Some(&(link, _)) = life.links.last() {
                life.proto.handle(Input::LinkUp { link, role: Role::Member }, now);
            }
        }
        life.carry_out();
        Ok(life)
    }

    fn event(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let event = match input.int_in_range(0..=9u8)? {
            0 | 1 => {
                self.pass(Duration::from_millis(input.int_in_range(0..=30_000)?));
                return Ok(());
            }
            2 => {
                let token = self.token();
                Input::Put { token, record: Box::new(record(input, self.now)?) }
            }
            3 => {
                let token = self.token();
                Input::Get { token, key: Box::new(record(input, self.now)?.key()) }
            }
            4 => match self.to_save {
                Some(number) => Input::Saved { number: input.int_in_range(0..=number.saturating_add(2))? },
                None => return Ok(()),
            },
            5 if input.ratio(1, 16)? => Input::DiskFailed,
            _ => {
                if self.links.is_empty() {
                    return Ok(());
                }
                let &(link, peer) = input.choose(&self.links)?;
                let message = message(input, self.now)?;
                let src = if input.ratio(1, 2)? { peer } else { id(input)? };
                let mut header = Header::new(message.kind(), src, if input.ratio(3, 4)? { ME } else { id(input)? });
                if input.ratio(1, 4)? {
                    header.flags = Flags::KEY;
                }
                if input.ratio(1, 8)? {
                    header.via = Some(Via { to: id(input)?, answer: id(input)? });
                }
                let mut frame = Frame { header, message };
                if frame.encode().len() > MAX_FRAME {
                    // No link brings it: it stands for a message that came in a parcel, and that is for this node.
                    frame.header = Header::new(frame.header.kind, src, ME);
                }
                Input::Frame { link, frame }
            }
        };
        self.proto.handle(event, self.now);
        self.carry_out();
        Ok(())
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        self.unanswered.insert(Token(self.next_token));
        Token(self.next_token)
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(due) = self.proto.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.proto.handle_timeout(self.now);
            self.carry_out();
        }
        self.now = end;
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.proto.poll_output() {
            match output {
                Output::Answer { token, .. } => assert!(self.unanswered.remove(&token), "{token:?} answered twice"),
                Output::Send { frame, .. } => {
                    assert!(frame.encode().len() <= MAX_FRAME, "too long: {:?}", frame.header);
                }
                Output::Save { number, record } => {
                    let last = self.to_save.as_mut().expect("there is a disk");
                    assert_eq!(number, *last + 1, "a number is left out");
                    *last = number;
                    assert_eq!(record.verify(Seconds(self.now.0 / 1_000_000)), Ok(()));
                }
                Output::Forget { .. } => assert!(self.to_save.is_some(), "there is no disk"),
                Output::Close { link } => self.links.retain(|(open, _)| *open != link),
                _ => {}
            }
        }
    }

    fn check(&self) {
        let stats = self.proto.store_stats();
        assert!(stats.records <= QUOTAS.records as u64 && stats.bytes <= QUOTAS.bytes as u64, "{stats:?}");
    }
}

/// Two writers, and few names: so that records meet.
fn writers() -> &'static [Identity; 2] {
    static WRITERS: OnceLock<[Identity; 2]> = OnceLock::new();
    WRITERS.get_or_init(|| [Identity::generate(), Identity::generate()])
}

fn record(input: &mut Unstructured<'_>, now: Time) -> Result<Record> {
    let expires = Seconds(now.0 / 1_000_000 + input.int_in_range(0..=3600)?);
    let value = vec![input.arbitrary()?; if input.ratio(1, 8)? { 40_000 } else { input.int_in_range(0..=99)? }];
    let writer = &writers()[usize::from(input.arbitrary::<bool>()?)];
    let (name, sequence) = (["a", "b", "c"][input.int_in_range(0..=2usize)?], input.int_in_range(0..=4)?);
    let made = match input.int_in_range(0..=2u8)? {
        0 => Record::value_of(value, expires),
        1 => Record::entry(writer, name, sequence, expires, Some(value.into())),
        _ => Record::claim(writer, name, Seconds(sequence), sequence, expires, input.ratio(1, 4)?),
    };
    let record = made.expect("within its sizes");
    if input.ratio(1, 8)? {
        // Another writer's signature, or none at all.
        let mut bytes = postcard(&record);
        let at = input.int_in_range(0..=bytes.len() - 1)?;
        bytes[at] ^= 1;
        return Ok(decoded(&bytes).unwrap_or(record));
    }
    Ok(record)
}

/// The bytes of a record, as a frame carries them.
fn postcard(record: &Record) -> Vec<u8> {
    let message = Message::Store(Box::new(Store { request: 0, ask: Ask::Put(record.clone()) }));
    Frame { header: Header::new(message.kind(), ME, ME), message }.encode().to_vec()
}

fn decoded(frame: &[u8]) -> Option<Record> {
    match Frame::decode(frame.to_vec().into()).ok()?.message {
        Message::Store(store) => match store.ask {
            Ask::Put(record) => Some(record),
            Ask::Get(_) => None,
        },
        _ => None,
    }
}

fn message(input: &mut Unstructured<'_>, now: Time) -> Result<Message> {
    let request = input.int_in_range(0..=3)?;
    let arc = (id(input)?, id(input)?);
    let replicate = match input.int_in_range(0..=11u8)? {
        0 => Replicate::Copy { request, record: record(input, now)? },
        1 => Replicate::Copied { request, kept: input.arbitrary()? },
        2 => Replicate::Pull { request, from: arc.0, to: arc.1, after: None },
        3 => {
            let next = if input.ratio(1, 4)? { Some(place(input, now)?) } else { None };
            Replicate::Pulled { request, ready: input.arbitrary()?, records: vec![record(input, now)?], next }
        }
        4 => {
            let part = Part { to: arc.1, count: input.arbitrary()?, digest: input.arbitrary()? };
            Replicate::Compare { from: arc.0, parts: vec![part; input.int_in_range(0..=3)?] }
        }
        5 => Replicate::List { from: arc.0, to: arc.1, entries: listed(input, now)?, room: input.arbitrary()? },
        6 => Replicate::Offer { request, entries: listed(input, now)? },
        7 => {
            let places = listed(input, now)?.into_iter().map(|listed| listed.place).collect();
            Replicate::Want { request, places, owned: input.ratio(1, 2)?.then_some(arc) }
        }
        8 => {
            let outcome = match input.int_in_range(0..=3u8)? {
                0 => Outcome::Kept(input.arbitrary()?),
                1 => Outcome::Found(record(input, now)?),
                2 => Outcome::Absent,
                _ => Outcome::Refused(StoreRefusal::NotReady),
            };
            return Ok(Message::Stored(Box::new(Stored { request, outcome })));
        }
        9 => {
            let ask = match input.ratio(1, 2)? {
                true => Ask::Put(record(input, now)?),
                false => Ask::Get(place(input, now)?.slot),
            };
            return Ok(Message::Store(Box::new(Store { request, ask })));
        }
        10 => return Ok(Message::Parcel(Box::new(Parcel::Have { number: request, have: input.arbitrary()? }))),
        _ => {
            let parts = input.int_in_range(1..=MAX_PARCEL_PARTS)?;
            let part = input.int_in_range(0..=parts - 1)?;
            let length = if part + 1 == parts { input.int_in_range(1..=200)? } else { PART_BYTES };
            let (of, bytes) = (input.int_in_range(39..=42)?, vec![input.arbitrary()?; length].into());
            return Ok(Message::Parcel(Box::new(Parcel::Part { number: request, of, part, parts, bytes })));
        }
    };
    Ok(Message::Replicate(Box::new(replicate)))
}

fn place(input: &mut Unstructured<'_>, now: Time) -> Result<Place> {
    Ok(Place::of(&record(input, now)?.key()))
}

fn listed(input: &mut Unstructured<'_>, now: Time) -> Result<Vec<Listed>> {
    let one = |input: &mut Unstructured<'_>| Ok(Listed { place: place(input, now)?, version: input.arbitrary()? });
    (0..input.int_in_range(0..=3u8)?).map(|_| one(input)).collect()
}

fn id(input: &mut Unstructured<'_>) -> Result<Id> {
    Ok(match input.int_in_range(0..=3u8)? {
        0 => ME,
        1 => Id::new(*input.choose(&NEIGHBOURS)?),
        2 => Id::new(input.int_in_range(990..=1010)?),
        _ => Id::new(input.arbitrary::<u64>()? & Id::MAX.number()),
    })
}
