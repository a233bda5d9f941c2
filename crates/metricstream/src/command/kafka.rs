//! `kafka install｜path`.

use metricstream_engine::kafka::Wanted;

use crate::cli::KafkaCommand;
use crate::drive::engine::failure;
use crate::exit::{Code, Ending, Failure};
use crate::output;
use crate::spinner::Spinner;

pub(crate) async fn run(what: KafkaCommand) -> Ending {
    match what {
        KafkaCommand::Install { version } => {
            let wanted = Wanted::from_env(version);
            let spinner = Spinner::begin();
            let progress = spinner.teller();
            let installed = tokio::task::spawn_blocking(move || wanted.find_or_install(&progress)).await;
            drop(spinner);
            let installed = installed.map_err(Failure::environment)?.map_err(failure)?;
            output::print(&format!("Apache Kafka {} in {}\n", installed.version, installed.libs.display()));
            Ok(Code::Pass)
        }
        KafkaCommand::Path { version } => match Wanted::from_env(version).find().map_err(failure)? {
            Some(installed) => {
                output::print(&format!("{}\n", installed.libs.display()));
                Ok(Code::Pass)
            }
            None => Err(Failure::environment("Apache Kafka is not installed; run: metricstream kafka install")),
        },
    }
}
