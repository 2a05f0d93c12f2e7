//! Two hosts on a network of ours: what is laid on their link is what TCP and UDP see. Needs root; says so and passes without it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Link, Network, enter, permitted};

/// Does something in the namespace of a host.
fn at<T: Send + 'static>(network: &Network, host: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let namespace = network.host(host)?.namespace.clone();
    let thread = std::thread::spawn(move || {
        enter(&namespace)?;
        work()
    });
    thread.join().expect("the work does not panic")
}

/// How long a datagram takes there and back; `None` where it does not come within half a second.
fn there_and_back(socket: &UdpSocket) -> Result<Option<Duration>> {
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut bytes = [0; 4];
    let began = Instant::now();
    socket.send(b"ping")?;
    Ok(socket.recv(&mut bytes).ok().map(|_| began.elapsed()))
}

#[test]
fn packets_are_delivered_delayed_and_cut_in_each_direction_by_itself() -> Result<()> {
    if let Err(why) = permitted() {
        eprintln!("SKIPPED: {why:#}");
        return Ok(());
    }
    let network = Network::create(&["a".into(), "b".into()], 1)?;
    let echo = at(&network, "b", || Ok(UdpSocket::bind("10.77.0.2:7")?))?;
    echo.set_read_timeout(Some(Duration::from_secs(10)))?;
    let server = std::thread::spawn(move || {
        let mut bytes = [0; 4];
        let mut heard = 0;
        while let Ok((length, from)) = echo.recv_from(&mut bytes) {
            if &bytes[..length] == b"end" {
                break;
            }
            heard += 1;
            echo.send_to(&bytes[..length], from).expect("answers");
        }
        heard
    });
    let socket = at(&network, "a", || {
        let socket = UdpSocket::bind("10.77.0.1:0")?;
        socket.connect("10.77.0.2:7")?;
        Ok(socket)
    })?;
    assert!(there_and_back(&socket)?.is_some(), "as it is");
    let slow = network.lay("a", "b", Link { delay: Duration::from_millis(60), ..Link::default() })?;
    let took = there_and_back(&socket)?.expect("comes late");
    assert!((60..300).contains(&took.as_millis()), "{took:?}");
    network.lift(slow);
    let cut = network.lay("b", "a", Link::cut())?;
    assert_eq!(there_and_back(&socket)?, None, "the answer is lost");
    network.lift(cut);
    let cut = network.lay("a", "b", Link::cut())?;
    assert_eq!(there_and_back(&socket)?, None, "the question is lost");
    network.lift(cut);
    assert!(there_and_back(&socket)?.is_some(), "healed");
    socket.send(b"end")?;
    assert_eq!(server.join().expect("ends"), 4, "of five questions one did not arrive");
    let counts = network.counts();
    assert_eq!((counts.lost, counts.delayed), (2, 1), "{counts:?}");
    Ok(())
}

#[test]
fn a_stream_survives_loss_doubles_and_spoilt_packets() -> Result<()> {
    if let Err(why) = permitted() {
        eprintln!("SKIPPED: {why:#}");
        return Ok(());
    }
    const BYTES: usize = 3_000_000;
    let network = Network::create(&["a".into(), "b".into()], 2)?;
    let listener = at(&network, "b", || Ok(TcpListener::bind("10.77.0.2:9000")?))?;
    let bad = Link { loss: 0.02, double: 0.05, spoil: 0.02, jitter: Duration::from_millis(1), ..Link::default() };
    network.lay("a", "b", bad)?;
    let reader = std::thread::spawn(move || -> Result<Vec<u8>> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        Ok(all)
    });
    let sent: Vec<u8> = crate::process::Pattern(5).bytes(BYTES);
    let mut stream = at(&network, "a", || Ok(TcpStream::connect("10.77.0.2:9000")?))?;
    stream.write_all(&sent)?;
    drop(stream);
    assert!(reader.join().expect("does not panic")? == sent);
    let counts = network.counts();
    assert!(counts.lost > 0 && counts.doubled > 0 && counts.spoilt > 0, "{counts:?}");
    Ok(())
}
