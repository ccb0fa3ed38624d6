use proptest::prelude::*;

use super::*;

const NET: &str = "main";

struct Server {
    registry: Registry<u32>,
    now: Instant,
}

impl Server {
    fn new() -> Self {
        Server { registry: Registry::new(2, 1), now: Instant::now() }
    }

    fn register(&mut self, id: u64) -> Registered<u32> {
        self.try_register(NET, id, Role::Member, id as u8, false).unwrap()
    }

    fn try_register(
        &mut self,
        network: &str,
        id: u64,
        role: Role,
        key: u8,
        member: bool,
    ) -> Result<Registered<u32>, ErrorCode> {
        let status = Some(Status { member, ..Status::default() });
        let applicant = Applicant { id: Id::new(id), key: [key; PEER_KEY_BYTES], role, status, handle: id as u32 };
        self.registry.register(network, applicant, self.now)
    }

    fn becomes_member(&mut self, id: u64, ticket: u64) {
        self.registry.set_status(NET, Id::new(id), ticket, Status { member: true, ..Status::default() });
    }

    fn asks(&mut self, id: u64) -> MemberList {
        self.registry.find_members(NET, Id::new(id), self.now)
    }
}

fn through(ids: &[u64]) -> MemberList {
    MemberList { found: false, members: ids.iter().map(|id| Member { id: Id::new(*id) }).collect() }
}

fn founds() -> MemberList {
    MemberList { found: true, members: Vec::new() }
}

#[test]
fn of_first_comers_one_founds_and_the_others_join_through_it() {
    let mut server = Server::new();
    assert_eq!(server.register(1).list, founds());
    assert_eq!(server.register(2).list, through(&[1]));
    assert_eq!(server.register(3).list, through(&[1]));
    assert_eq!(server.asks(1), founds(), "told again when it asks again");
}

#[test]
fn a_founder_that_leaves_before_it_is_a_member_is_followed_by_another() {
    let mut server = Server::new();
    let founder = server.register(1);
    server.register(2);
    server.register(3);
    server.registry.unregister(NET, Id::new(1), founder.ticket);
    assert_eq!(server.asks(3), founds());
    assert_eq!(server.asks(2), through(&[3]));
}

#[test]
fn a_founder_that_never_founds_does_not_block_the_network() {
    let mut server = Server::new();
    server.register(1);
    server.register(2);
    server.now += FOUNDING - Duration::from_millis(1);
    assert_eq!(server.asks(2), through(&[1]));
    server.now += Duration::from_millis(1);
    assert_eq!(server.asks(2), founds());
    assert_eq!(server.asks(1), through(&[2]));
}

#[test]
fn newcomers_are_told_members_and_members_are_told_other_members() {
    let mut server = Server::new();
    let one = server.register(1);
    server.becomes_member(1, one.ticket);
    let two = server.register(2);
    assert_eq!(two.list, through(&[1]));
    assert_eq!(server.asks(1), through(&[]), "the only member is not told to found a second ring");
    server.becomes_member(2, two.ticket);
    assert_eq!(server.asks(1), through(&[2]));
}

#[test]
fn a_member_that_comes_back_after_a_restart_is_not_told_to_found() {
    let mut server = Server::new();
    let list = server.try_register(NET, 1, Role::Member, 1, true).unwrap().list;
    assert_eq!(list, through(&[]));
    assert_eq!(server.register(2).list, through(&[1]));
}

#[test]
fn a_member_that_comes_back_is_told_of_the_ring_that_was_founded_meanwhile() {
    let mut server = Server::new();
    let founder = server.register(1);
    server.becomes_member(1, founder.ticket);
    let list = server.try_register(NET, 2, Role::Member, 2, true).unwrap().list;
    assert_eq!(list, through(&[1]));
}

#[test]
fn a_leaf_founds_nothing_and_nobody_joins_through_it() {
    let mut server = Server::new();
    let leaf = server.try_register(NET, 1, Role::Leaf, 1, true).unwrap();
    assert_eq!(leaf.list, through(&[]));
    server.becomes_member(1, leaf.ticket);
    assert_eq!(server.register(2).list, founds());
    assert_eq!(server.asks(1), through(&[2]));
}

#[test]
fn a_second_key_on_a_held_id_is_refused_and_the_holder_stays() {
    let mut server = Server::new();
    server.try_register(NET, 7, Role::Member, 1, false).unwrap();
    assert_eq!(server.try_register(NET, 7, Role::Member, 2, false).unwrap_err(), ErrorCode::IdHeld);
    assert_eq!(server.registry.reach(NET, Id::new(7)), Some(7));
    assert!(server.try_register("other", 7, Role::Member, 2, false).is_ok(), "networks know nothing of each other");
}

#[test]
fn the_same_key_again_replaces_the_older_connection_and_the_older_ones_end_changes_nothing() {
    let mut server = Server::new();
    let old = server.register(7);
    let new = server.register(7);
    assert_eq!(new.replaced, Some(7));
    server.becomes_member(7, old.ticket);
    assert_eq!(server.registry.counts().members, 0, "the old connection speaks for nobody");
    server.registry.unregister(NET, Id::new(7), old.ticket);
    assert_eq!(server.registry.reach(NET, Id::new(7)), Some(7));
    server.registry.unregister(NET, Id::new(7), new.ticket);
    assert_eq!(server.registry.counts(), Counts::default());
}

#[test]
fn networks_are_bounded_and_an_empty_one_makes_room() {
    let mut server = Server::new();
    let first = server.try_register("a", 1, Role::Member, 1, false).unwrap();
    server.try_register("b", 1, Role::Member, 1, false).unwrap();
    let full = server.try_register("c", 1, Role::Member, 1, false).unwrap_err();
    assert_eq!(full, ErrorCode::TooManyNetworks);
    server.registry.unregister("a", Id::new(1), first.ticket);
    assert!(server.try_register("c", 1, Role::Member, 1, false).is_ok());
}

#[test]
fn the_next_members_are_named_and_others_drawn_evenly_and_never_the_one_who_asks() {
    let mut server = Server::new();
    for id in 0..40 {
        let ticket = server.register(id).ticket;
        server.becomes_member(id, ticket);
    }
    let mut seen = BTreeMap::<u64, u32>::new();
    for _ in 0..1000 {
        let list = server.asks(0);
        assert_eq!((list.found, list.members.len()), (false, MAX_MEMBERS));
        list.members.iter().for_each(|member| *seen.entry(member.id.number()).or_default() += 1);
    }
    assert!(!seen.contains_key(&0) && seen.len() == 39, "{seen:?}");
    assert_eq!([seen.remove(&1), seen.remove(&39)], [Some(1000); 2], "the next on either side, around the ring");
    // 1000 * 6 / 37 = 162 each; 5 standard deviations are 58.
    assert!(seen.values().all(|times| (100..220).contains(times)), "{seen:?}");
}

#[test]
fn the_view_of_a_ring_comes_in_pages() {
    let mut server = Server::new();
    for id in 0..MAX_DHT_NODES as u64 + 5 {
        server.try_register(NET, id, Role::Member, 0, false).unwrap();
    }
    let first = server.registry.view(NET, None).unwrap();
    assert_eq!((first.total, first.nodes.len()), (MAX_DHT_NODES + 5, MAX_DHT_NODES));
    let rest = server.registry.view(NET, Some(first.nodes.last().unwrap().id)).unwrap();
    assert_eq!(rest.nodes.len(), 5);
    assert!(server.registry.view("nowhere", None).is_none());
}

proptest! {
    /// Whatever happens, of the nodes that are no members at most one believes that it is to found the ring at any time
    /// within the time that founding takes.
    #[test]
    fn there_is_never_a_second_founder(steps in prop::collection::vec((0u64..6, 0u8..4), 1..60)) {
        let mut server = Server::new();
        let mut tickets = BTreeMap::new();
        let mut founder: Option<u64> = None;
        for (id, what) in steps {
            let told = match what {
                0 => {
                    let registered = server.register(id);
                    tickets.insert(id, registered.ticket);
                    Some(registered.list)
                }
                1 if tickets.contains_key(&id) => Some(server.asks(id)),
                2 => {
                    if let Some(ticket) = tickets.remove(&id) {
                        server.registry.unregister(NET, Id::new(id), ticket);
                    }
                    founder = founder.filter(|f| *f != id);
                    None
                }
                _ => None,
            };
            if told.is_some_and(|list| list.found) {
                prop_assert!(founder.is_none_or(|f| f == id), "{:?} and {} are both to found", founder, id);
                founder = Some(id);
            }
            let counts = server.registry.counts();
            prop_assert_eq!(counts.nodes, tickets.len());
        }
    }
}
