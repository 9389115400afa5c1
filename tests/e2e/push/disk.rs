//! The disk fails at each change of a file: a quota is used up, a file system becomes read-only, a device is broken.

use super::kill::{Lanes, Point, State};

trials! {
    disk:
    full {
        change_that_the_system_refuses_loses_nothing,
    }
}

/// And what the system calls each.
const ERRORS: [(&str, &str); 3] =
    [("EDQUOT", "quota exceeded"), ("EROFS", "Read-only file system"), ("EIO", "Input/output error")];

fn change_that_the_system_refuses_loses_nothing() {
    let lanes = Lanes::of("disk");
    for scene in &lanes.0 {
        scene.join(&[]);
    }
    let points = Point::all(&lanes.0[0]);
    assert!(points.len() > 15, "{points:#?}");
    let each =
        points.iter().enumerate().map(|(number, point)| (point.clone(), ERRORS[number % ERRORS.len()])).collect();
    lanes.run(each, |scene, (point, (error, words))| {
        let before = State::of(scene);
        let run = point.fail(scene, error);
        // What cannot be deleted after a delivery is a warning: the next run deletes it.
        assert!(
            run.code == Some(1) || run.code == Some(0) && run.stderr.contains("Warning"),
            "{error}: {}",
            run.stderr
        );
        assert!(run.stderr.contains(words) && run.stderr.contains(scene.typed()), "{error}: {}", run.stderr);
        before.holds(scene, &point.what);
        scene.join(&[]);
        scene.all_up(4);
        scene.is_tidy("east");
    });
}
