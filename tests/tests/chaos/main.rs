//! Everything at once, at random: processes killed, stopped and told to end, the root among them; configurations changed and broken; jobs
//! paused; clients that flood, dawdle and talk nonsense, at the sockets and over TCP, with the token and without; exchanges that hang up.
//! In the end the tree is whole, nothing was lost that isn't declared, nothing is left over, nobody has waited without a deadline, and
//! who was honest was answered. In the second half the port speaks TLS.
//!
//! `cargo xtask chaos --seconds 600 --seed 7` runs it for longer, or again as it was.
#![allow(clippy::print_stdout, reason = "tests print what they did")]

mod deeds;
mod far;
mod floods;
mod world;

use std::time::{Duration, Instant};

use dccd_testkit::POLL_INTERVAL;

use crate::world::World;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    }
}

#[test]
fn whatever_happens_the_tree_is_whole_in_the_end_and_nothing_is_lost_undeclared() {
    let lasts = Duration::from_secs(number("CHAOS_SECONDS", 25));
    let seed = number("CHAOS_SEED", 20_261_127);
    let mut rng = fastrand::Rng::with_seed(seed);
    println!("seed {seed}, {} s", lasts.as_secs());
    let mut world = World::begin();
    let begun = Instant::now();
    let mut speaks_tls = false;
    world.storm(&mut rng);
    while begun.elapsed() < lasts {
        if !speaks_tls && begun.elapsed() >= lasts / 2 {
            println!("{:8.3} TLS", begun.elapsed().as_secs_f64());
            world.speak_tls();
            world.storm(&mut rng);
            speaks_tls = true;
        }
        let deed = deeds::choose(&mut rng);
        println!("{:8.3} {deed:?}", begun.elapsed().as_secs_f64());
        deeds::perform(&mut world, deed, &mut rng);
        // A moment of whatever goes on now.
        let pause = Duration::from_millis(rng.u64(0..900));
        let since = Instant::now();
        while since.elapsed() < pause {
            world.wake_sleepers();
            std::thread::sleep(POLL_INTERVAL);
        }
    }
    println!("{:8.3} the end", begun.elapsed().as_secs_f64());
    world.end();
}
