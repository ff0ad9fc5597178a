//! Outputs are there as a whole or not at all, whoever is killed when.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fuxi::protocol::{Attempt, DiskLimit, Exit, FromMaster, FromWorker, Program, Span};
use model::dagjob::Mode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::scene::{Scene, program};

fn collect(scene: &mut Scene, script: &str) {
    let root = scene.folder.path().display().to_string();
    let plain = program(Mode::Exec, &["/bin/sh", "-c", script, "sh", &root], None);
    scene.send(&FromMaster::Program(Program { output: Some(format!("{root}/out")), ..plain }));
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn outputs_are_collected() {
    let (mut scene, _) = Scene::open();
    let out = scene.folder.path().join("out");
    collect(&mut scene, "echo $CREST_INSTANCE_ATTEMPT > $CREST_OUTPUT; exit $CREST_INSTANCE_INDEX");
    scene.give(0, 1);
    assert_eq!([scene.result().exit, scene.result().exit], [Exit::Code(0), Exit::Code(1)]);
    assert_eq!((names(&out), scene.read("out/0")), (vec!["0".to_owned()], "1\n".to_owned()));
    // Another attempt's output takes the place of the first as a whole, be it a folder or not.
    for (number, script, expected) in [
        (
            2,
            "mkdir -p $CREST_OUTPUT/deep; echo 2 > $CREST_OUTPUT/deep/a; ln -s nowhere $CREST_OUTPUT/l",
            vec!["deep", "l"],
        ),
        (3, "mkdir $CREST_OUTPUT; echo 3 > $CREST_OUTPUT/b", vec!["b"]),
        (4, "echo 4 > $CREST_OUTPUT", vec![]),
    ] {
        collect(&mut scene, script);
        scene.send(&FromMaster::Assign {
            attempts: vec![Span { first: 0, last: 0, number }],
            inputs: Vec::new(),
        });
        assert_eq!(scene.result().exit, Exit::Code(0));
        assert_eq!(names(&out.join("0")), expected);
    }
    assert_eq!((names(&out), scene.read("out/0")), (vec!["0".to_owned()], "4\n".to_owned()));

    collect(&mut scene, "true");
    scene.give(5, 5);
    let nothing = "it ended with exit code 0, but wrote nothing to CREST_OUTPUT".to_owned();
    assert_eq!(scene.result().exit, Exit::Failed { message: nothing });
    fs::remove_dir_all(&out).unwrap();
    fs::write(&out, "a file in the way").unwrap();
    scene.give(6, 6);
    let exit = scene.result().exit;
    assert!(exit.to_string().contains("cannot prepare a place for its output: "), "{exit}");
}

/// Whoever is asked to end and handles that well has not ended well: what it wrote until then is half of its output.
pub(crate) fn who_is_ended_takes_no_place() {
    let script = "trap 'exit 0' TERM; echo half > $CREST_OUTPUT; head -c 300000 /dev/zero > $1/own/large; echo > $1/begun; \
                  while :; do sleep 0.05; done";
    for (limit, last) in [(1 << 40, Some(FromMaster::Stop)), (1 << 40, None), (100_000, None)] {
        let (mut scene, _) = Scene::open();
        let root = scene.folder.path().to_owned();
        for folder in ["out", "own"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("out/0"), "whole\n").unwrap();
        scene.make_fifo("begun");
        let plain = program(Mode::Exec, &["/bin/sh", "-c", script, "sh", &root.display().to_string()], None);
        scene.send(&FromMaster::Program(Program {
            output: Some(root.join("out").display().to_string()),
            disk: Some(Box::new(DiskLimit { limit, folders: vec![root.join("own")] })),
            ..plain
        }));
        scene.give(0, 0);
        assert_eq!(scene.read("begun"), "\n");
        match last {
            _ if limit < 300_000 => {
                assert_eq!(scene.result().exit, Exit::OutOfDisk { limit });
                scene.send(&FromMaster::Ack { attempts: vec![Span { first: 0, last: 0, number: 1 }] });
                scene.give(1, 1);
                // What the master before has acknowledged the next one would not hear of.
                while scene.replace_master().ended > 0 {}
                let hello = scene.replace_master();
                assert!(hello.full);
                assert_eq!(hello.held, [Attempt { index: 1, number: 1 }], "nothing begins on a full disk");
                scene.send(&FromMaster::Recall);
                assert_eq!(scene.receive(), FromWorker::Returned { attempts: hello.held });
            }
            Some(stop) => {
                scene.send(&stop);
                assert_eq!(scene.wait_for_exit(), Some(0));
            }
            None => {
                kill(Pid::from_raw(i32::try_from(scene.worker.id()).unwrap()), Signal::SIGTERM).unwrap();
                assert_eq!(scene.wait_for_exit(), Some(143));
            }
        }
        assert_eq!(
            (names(&root.join("out")), scene.read("out/0")),
            (vec!["0".to_owned()], "whole\n".to_owned())
        );
    }
}

/// Workers are killed at many moments of an instance that writes a large file and a folder of many.
pub(crate) fn a_killed_worker_leaves_no_half_output() {
    let (mut n_there, mut whole) = (0, Duration::ZERO);
    // The first is left to its end, which says how long that takes.
    for round in 0..40 {
        let (mut scene, _) = Scene::open();
        let script = "mkdir $CREST_OUTPUT.part; for i in 1 2 3 4 5 6 7 8; do head -c 200000 /dev/zero > $CREST_OUTPUT.part/$i; done; \
                      mv $CREST_OUTPUT.part $CREST_OUTPUT";
        collect(&mut scene, script);
        scene.give(0, 0);
        if round == 0 {
            let start = kit::clock::monotonic();
            assert_eq!(scene.result().exit, Exit::Code(0));
            whole = start.elapsed();
        }
        std::thread::sleep(whole * round / 26);
        kill(Pid::from_raw(i32::try_from(scene.worker.id()).unwrap()), Signal::SIGKILL).unwrap();
        scene.wait_for_exit();
        let out = scene.folder.path().join("out");
        for name in names(&out).iter().filter(|name| !name.starts_with('.')) {
            n_there += 1;
            assert_eq!(name, "0");
            let sizes = names(&out.join("0"))
                .into_iter()
                .map(|name| fs::metadata(out.join("0").join(name)).unwrap().len());
            assert_eq!(sizes.collect::<Vec<_>>(), [200_000; 8], "round {round}");
        }
    }
    assert!(n_there > 0);
    println!("{n_there} of 40 killed workers had moved the output to its place");
}
