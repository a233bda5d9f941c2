//! What one acknowledged frame costs the embedded cluster: frames one after the other over one connection, acks=all, three
//! replicas. For work on the path of a frame: processor times hold on a busy machine too, round trips do not.

use std::time::{Duration, Instant};

use super::cluster::peer::Peer;
use super::cluster::raw::RawProducer;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Records of 100 B in a frame
    #[arg(long, value_delimiter = ',', default_value = "1,1000")]
    records: Vec<usize>,
    /// How long each size is measured; the best of three turns is told
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("records   round trip    cluster's processor time a frame");
    for records in args.records.iter().copied() {
        let (mut trip_us, mut cpu_us) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..3 {
            let peer = Peer::ours()?;
            peer.create_topic("frames", 1)?;
            let any = peer.bootstrap().split(',').next().unwrap_or_default().parse()?;
            let time = Duration::from_secs_f64(args.seconds);
            let (count, took_s, cpu_s) = runtime.block_on(async {
                let mut producer = RawProducer::connect(any, "frames", records).await?;
                producer.acknowledged().await?;
                let (begun, cpu_before_s) = (Instant::now(), peer.cpu_s()?);
                let mut count = 0.0;
                while begun.elapsed() < time {
                    producer.acknowledged().await?;
                    count += 1.0;
                }
                Ok::<_, anyhow::Error>((count, begun.elapsed().as_secs_f64(), peer.cpu_s()? - cpu_before_s))
            })?;
            trip_us = trip_us.min(took_s * 1e6 / count);
            cpu_us = cpu_us.min(cpu_s * 1e6 / count);
        }
        println!("{records:>7}   {trip_us:>7.0} µs    {cpu_us:>7.1} µs");
    }
    Ok(())
}
