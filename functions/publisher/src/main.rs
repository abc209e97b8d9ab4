//! Cold start of the publisher.

use std::time::SystemTime;

use aws_lambda_events::event::dynamodb::Event;
use lambda_runtime::{LambdaEvent, service_fn};
use publisher::Publisher;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let publisher = &Publisher::from_env().await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Event>| {
        #[expect(clippy::disallowed_methods, reason = "this is where time comes in")]
        let remaining = event.context.deadline().duration_since(SystemTime::now());
        let remaining = remaining.unwrap_or_default();
        Ok::<_, std::convert::Infallible>(publisher.handle(event.payload, remaining).await)
    }))
    .await
}
