//! Raw TCP: a connection with a thread on either side for each operation under way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Measured, Pattern, Plan, SIZE_MAX};
use crate::NetError;

/// What a client says of one operation: its pattern and length.
const ORDER_BYTES: usize = 8;

fn failed(call: &'static str) -> impl Fn(std::io::Error) -> NetError {
    move |e| NetError::Fabric { call, reason: e.to_string() }
}

/// Serves until the future is dropped.
pub(super) async fn serve(address: SocketAddr) -> Result<(), NetError> {
    let listener = TcpListener::bind(address).map_err(failed("bind"))?;
    listener.set_nonblocking(true).map_err(failed("bind"))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed("bind"))?;
    loop {
        let (stream, _) = listener.accept().await.map_err(failed("accept"))?;
        let stream = stream.into_std().map_err(failed("accept"))?;
        stream.set_nonblocking(false).map_err(failed("accept"))?;
        // It ends with its connection.
        let served = std::thread::Builder::new().name("bench-tcp".to_owned()).spawn(move || serve_one(stream));
        served.map_err(failed("spawn"))?;
    }
}

fn serve_one(mut stream: TcpStream) {
    let mut data = vec![0u8; SIZE_MAX];
    // The client's end of the connection is the end of the measurement.
    while let Ok(()) = serve_order(&mut stream, &mut data) {}
}

fn serve_order(stream: &mut TcpStream, data: &mut [u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut order = [0u8; ORDER_BYTES];
    stream.read_exact(&mut order)?;
    let length = (u32::from_le_bytes([order[0], order[1], order[2], order[3]]) as usize).min(data.len());
    match order[4] {
        0 => {
            stream.read_exact(&mut data[..length])?;
            stream.write_all(&data[..length])
        }
        1 => {
            stream.read_exact(&mut data[..length])?;
            stream.write_all(&[1])
        }
        _ => stream.write_all(&data[..length]),
    }
}

/// Makes one figure.
pub(super) fn measure(address: SocketAddr, plan: Plan, _provider: &str) -> Result<Measured, NetError> {
    let streams = (0..plan.window).map(|_| TcpStream::connect(address)).collect::<Result<Vec<_>, _>>().map_err(failed("connect"))?;
    let began = Instant::now();
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = streams.into_iter().map(|stream| scope.spawn(move || measure_one(stream, plan, began))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new()))).collect::<std::io::Result<Vec<_>>>()
    });
    Ok((times.map_err(failed("tcp"))?.concat(), began.elapsed()))
}

fn measure_one(mut stream: TcpStream, plan: Plan, began: Instant) -> std::io::Result<Vec<Duration>> {
    stream.set_nodelay(true)?;
    let mut data = vec![7u8; ORDER_BYTES + plan.bytes];
    data[..4].copy_from_slice(&(plan.bytes as u32).to_le_bytes());
    data[4] = match plan.pattern {
        Pattern::Echo => 0,
        Pattern::Pull => 1,
        _ => 2,
    };
    let order = data[..ORDER_BYTES].to_vec();
    let mut back = vec![0u8; plan.bytes];
    let mut times = Vec::new();
    while plan.goes_on(began, times.len() * plan.window) {
        let start = Instant::now();
        match plan.pattern {
            Pattern::Push => stream.write_all(&order)?,
            _ => stream.write_all(&data)?,
        }
        match plan.pattern {
            Pattern::Pull => stream.read_exact(&mut back[..1])?,
            _ => stream.read_exact(&mut back)?,
        }
        times.push(start.elapsed());
    }
    Ok(times)
}
