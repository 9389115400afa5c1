//! Each command killed before each of its writes to a cluster: the token in use stays valid, the same command then
//! succeeds, and `leave` leaves nothing.

use crate::matrix::{LEAVE, LEAVE_DIR, PRINT, PUSH, ROTATE, Scene};
use testbed::{Action, Rule};

fn killed_at_every_write(before: &[&[&str]], words: &[&str], leave: &[&str]) {
    let clean = Scene::after(before);
    clean.run(words).0.succeeded();
    let east = clean.world.east();
    let (requests, mut writes) = (east.requests(), east.writes().into_iter().peekable());
    let mut points = 0;
    for (index, request) in requests.iter().enumerate() {
        let path = request.path.split('?').next().unwrap_or_default();
        // A dry run is no write, but looks like the one that follows it.
        let shown = format!("{} {path}", request.method);
        if request.path.contains("dryRun=All") || writes.next_if_eq(&shown).is_none() {
            continue;
        }
        points += 1;
        let scene = Scene::after(before);
        scene.world.killed_at(&scene.words(words), &Rule::new("*", "/", Action::Hang).skip(index));
        if let Some(token) = scene.token_in_use() {
            assert_eq!(scene.world.get(&token, "/api/v1/nodes").0, 200, "killed before {shown}: the token in use");
        }
        let (again, _) = scene.run(words);
        let is_left = words[0] == "leave" && again.stderr.contains("error (ClusterUnknown)");
        assert!(again.code == Some(0) || is_left, "killed before {shown}: {}", again.stderr);
        let (left, _) = scene.run(leave);
        let is_left = left.stderr.contains("error (ClusterUnknown)");
        assert!(left.code == Some(0) || is_left, "killed before {shown}: {}", left.stderr);
        assert_eq!(scene.world.east().ours(), Vec::<String>::new(), "killed before {shown}");
    }
    assert_eq!(writes.next(), None, "each write has been reached");
    println!("{words:?}: killed before {points} writes");
    assert!(points > 0);
}

macro_rules! killed {
    ($($name:ident: $before:expr, $words:expr, $leave:expr;)+) => {
        $(
            #[test]
            fn $name() {
                killed_at_every_write($before, $words, $leave);
            }
        )+
    };
}

killed! {
    join_that_prints: &[], PRINT, LEAVE;
    join_that_prints_in_place: &[PRINT], PRINT, LEAVE;
    join_to_a_destination: &[], PUSH, LEAVE_DIR;
    join_to_a_destination_in_place: &[PUSH], PUSH, LEAVE_DIR;
    rotate: &[PUSH], ROTATE, LEAVE_DIR;
    leave: &[PRINT], LEAVE, LEAVE;
    leave_of_a_destination: &[PUSH], LEAVE_DIR, LEAVE;
}
