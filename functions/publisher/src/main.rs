//! Cold start of the publisher.

use aws_lambda_events::event::dynamodb::Event;
use lambda_runtime::{LambdaEvent, service_fn};
use publisher::Publisher;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let publisher = &Publisher::from_env().await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Event>| {
        Ok::<_, std::convert::Infallible>(publisher.handle(event.payload).await)
    }))
    .await
}
