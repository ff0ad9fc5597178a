//! Input lists: taken by a worker, and given to its instances.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fuxi::protocol::{Attempt, Exit, FromMaster, FromWorker, LISTING, Program, Span};
use model::dagjob::{Input, Mode};

use super::scene::{Scene, program};

fn ask_for_list(scene: &mut Scene, mode: Mode, command: &[&str], pattern: &str) {
    let files = Some(format!("{}/{pattern}", scene.folder.path().display()));
    let list = Some(Box::new(Input { files, ..Input::default() }));
    scene.send(&FromMaster::Program(Program { list, count: 0, ..program(mode, command, Some(1)) }));
    scene.give(LISTING, LISTING);
}

fn lines(exit: &Exit) -> Vec<String> {
    let Exit::Listed { list } = exit else { panic!("expected a list, got {exit:?}") };
    let text = zstd::decode_all(&*STANDARD.decode(list).unwrap()).unwrap();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

pub(crate) fn a_list_is_taken_and_kept() {
    let (mut scene, _) = Scene::open();
    for name in ["b.csv", "a.csv", "c.txt"] {
        fs::write(scene.folder.path().join(name), "").unwrap();
    }
    ask_for_list(&mut scene, Mode::Exec, &["true"], "*.csv");
    let result = scene.result();
    assert_eq!(result.attempt, Attempt { index: LISTING, number: 1 });
    let root = scene.folder.path().display().to_string();
    assert_eq!(lines(&result.exit), [format!("{root}/a.csv"), format!("{root}/b.csv")]);
    // Another master hears the same, whatever the folder holds now.
    fs::write(scene.folder.path().join("d.csv"), "").unwrap();
    scene.replace_master();
    assert_eq!(lines(&scene.result().exit).len(), 2);
    scene.send(&FromMaster::Ack { attempts: vec![Span { first: LISTING, last: LISTING, number: 1 }] });

    ask_for_list(&mut scene, Mode::Exec, &["true"], "nowhere/*.csv");
    scene.send(&FromMaster::Assign {
        attempts: vec![Span { first: LISTING, last: LISTING, number: 2 }],
        inputs: Vec::new(),
    });
    let result = scene.result();
    assert_eq!(result.exit, Exit::Code(1));
    assert!(
        result.tail.contains("/nowhere` in this container: does the task mount the volume"),
        "{}",
        result.tail
    );
}

pub(crate) fn instances_know_their_input() {
    let (mut scene, _) = Scene::open();
    let root = scene.folder.path().display().to_string();
    fs::write(scene.folder.path().join("a"), "").unwrap();
    let command = ["/bin/sh", "-c", "printf '%s.' \"$CREST_INPUT\" >> $0/out; rm -f $0/b", &root];
    let plain = program(Mode::Exec, &command, None);
    scene.send(&FromMaster::Program(Program { has_files: true, ..plain }));
    scene.give_with(0, 1, vec![format!("{root}/a"), format!("{root}/a\n{root}/b")]);
    assert_eq!(scene.result().exit, Exit::Code(0));
    let message = format!("its input `{root}/b` is not there any more, as it was when the task began");
    assert_eq!(scene.result().exit, Exit::Failed { message });
    // What is no file is given as it is.
    scene.send(&FromMaster::Program(program(Mode::Exec, &command, None)));
    scene.give_with(2, 3, vec!["1\n2".to_owned(), String::new()]);
    assert!((0..2).all(|_| scene.result().exit == Exit::Code(0)));
    assert_eq!(scene.read("out"), format!("{root}/a.1\n2.."));
    assert_eq!(scene.replace_master().held, []);
}

pub(crate) fn a_stream_gets_its_input_after_the_list() {
    let (mut scene, _) = Scene::open();
    let root = scene.folder.path().display().to_string();
    fs::write(scene.folder.path().join("a"), "").unwrap();
    let script = "echo '{\"ready\":true}'; while read -r line; do echo \"$line\" >> $0/lines; \
                  i=${line#*:}; i=${i%%,*}; echo \"{\\\"index\\\":$i}\"; done";
    let command = ["/bin/sh", "-c", script, &root];
    ask_for_list(&mut scene, Mode::Stream, &command, "a");
    assert_eq!(lines(&scene.result().exit), [format!("{root}/a")]);
    let plain = program(Mode::Stream, &command, None);
    scene.send(&FromMaster::Program(Program { has_files: true, count: 3, ..plain }));
    let gone = format!("{root}/gone");
    scene.give_with(0, 2, vec![format!("{root}/a"), gone.clone(), format!("{root}/a\n{root}/a")]);
    let mut failed = Vec::new();
    for _ in 0..3 {
        let result = scene.result();
        if result.exit != Exit::Code(0) {
            failed.push((result.attempt.index, result.exit.to_string()));
        }
    }
    let message = format!("its input `{gone}` is not there any more, as it was when the task began");
    assert_eq!(failed, [(1, message)]);
    let expected = format!(
        "{{\"index\":0,\"attempt\":1,\"input\":[\"{root}/a\"],\"count\":3}}\n\
         {{\"index\":2,\"attempt\":1,\"input\":[\"{root}/a\",\"{root}/a\"],\"count\":3}}\n"
    );
    assert_eq!(scene.read("lines"), expected);
    // What is given back is forgotten with its input.
    scene.send(&FromMaster::Recall);
    assert_eq!(scene.receive(), FromWorker::Returned { attempts: Vec::new() });
}
