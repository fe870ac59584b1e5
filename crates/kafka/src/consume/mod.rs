//! Subscriptions: one operating system thread for each, which polls the client library and fills the channels.

mod alarm;
mod committer;
mod listener;
mod member;
mod outbox;
mod poller;
mod rebalance;
mod record;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as jobs};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as Cause;
use rdkafka::topic_partition_list::Offset as Place;
use ridgeline_ports::{
    GroupSubscription, LogError, Offset, Partition, StartAt, TailStart, TailSubscription, TopicName,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::alarm::Alarm;
use self::committer::Committer;
use self::listener::Listener;
use self::member::Handle;
pub(crate) use self::member::Membership;
use self::outbox::Outbox;
use self::poller::{Poller, Reading, Running};
use self::rebalance::Group;
use crate::client::{MemberKey, Shared, off_the_reactor};
use crate::error::KafkaError;
use crate::topics::{all, list};

/// How long a member that comes back waits for its former self to be gone.
const FORMER_MAX: Duration = Duration::from_secs(30);

/// Joins a group of a topic with that many partitions.
pub(crate) async fn subscribe(
    shared: &Arc<Shared>,
    key: MemberKey,
    partitions: u32,
    start: StartAt,
) -> Result<GroupSubscription, LogError> {
    let (jobs, queue) = jobs::channel();
    let member = Arc::new(Membership::new(key.0.clone(), partitions, jobs));
    replace_former(shared, &key, &member).await?;
    let (control, controls) = mpsc::unbounded_channel();
    let (sender, deliveries) = mpsc::channel(shared.config.delivery_capacity.max(1));
    let outbox = Outbox::new(sender, shared.config.delivery_bytes_max);
    let (shared, joining) = (Arc::clone(shared), Arc::clone(&member));
    off_the_reactor(move || {
        let group = Group::new(key, Arc::clone(&joining), start, control);
        let started = start_member(&shared, group, outbox, queue);
        if started.is_err() {
            shared.forget_member(&joining);
        }
        started.map_err(LogError::from)
    })
    .await?;
    Ok(GroupSubscription { control: controls, deliveries, handle: Arc::new(Handle(member)) })
}

/// Takes the place of a living member of this name: it owns nothing from now on, and is waited for.
async fn replace_former(shared: &Shared, key: &MemberKey, member: &Arc<Membership>) -> Result<(), LogError> {
    loop {
        let former = {
            let mut members = shared.members.lock();
            let former = members.get(key).cloned();
            if former.is_none() {
                members.insert(key.clone(), Arc::clone(member));
            }
            former
        };
        let Some(former) = former else { return Ok(()) };
        former.fence();
        let gone = timeout(FORMER_MAX, former.gone.cancelled()).await;
        gone.map_err(|_| LogError::Unavailable("the former subscription of this member does not end".into()))?;
    }
}

impl Shared {
    /// The name is free for a new member.
    pub(crate) fn forget_member(&self, member: &Arc<Membership>) {
        self.members.lock().retain(|_, known| !Arc::ptr_eq(known, member));
        member.end();
        member.gone.cancel();
    }
}

fn start_member(
    shared: &Arc<Shared>,
    mut group: Group,
    outbox: Outbox,
    queue: jobs::Receiver<member::Job>,
) -> Result<(), KafkaError> {
    let alarm = Arc::clone(&group.member.alarm);
    let topic = group.key.0.clone();
    let consumer = consumer(shared, &group.key.1.0, group.instance.as_deref(), &alarm)?;
    consumer.subscribe(&[topic.as_str()])?;
    let status = Arc::clone(&shared.status);
    let (member, commits, of) = (Arc::clone(&group.member), Arc::clone(&consumer), topic.clone());
    let committer = Committer { consumer: commits, member, topic: of, status };
    group.committer = Some(spawn("kafka-commit", move || committer.run(&queue))?);
    start_polling(Poller::new(Arc::clone(shared), consumer, topic, alarm, outbox, Some(group)))
}

/// Reads all partitions of a topic without a group.
pub(crate) async fn tail(
    shared: &Arc<Shared>,
    topic: &TopicName,
    start: TailStart,
) -> Result<TailSubscription, LogError> {
    // Resolved before the call returns: nothing appended afterwards is missed.
    let ends = shared.topics.ends(topic).await?;
    let starts: Vec<Place> = match start {
        TailStart::End => ends.iter().copied().map(place).collect(),
        TailStart::Beginning => ends.iter().map(|_| Place::Beginning).collect(),
        TailStart::Time(time) => shared.topics.at_time(topic, time).await?.into_iter().map(place).collect(),
    };
    let (sender, deliveries) = mpsc::channel(shared.config.delivery_capacity.max(1));
    let outbox = Outbox::new(sender, shared.config.delivery_bytes_max);
    let (shared, topic) = (Arc::clone(shared), topic.clone());
    off_the_reactor(move || start_tail(&shared, &topic, outbox, &starts, &ends).map_err(LogError::from)).await?;
    Ok(TailSubscription { deliveries })
}

fn start_tail(
    shared: &Arc<Shared>,
    topic: &TopicName,
    outbox: Outbox,
    starts: &[Place],
    ends: &[Offset],
) -> Result<(), KafkaError> {
    let partitions = all(u32::try_from(ends.len()).unwrap_or(u32::MAX));
    let alarm = Arc::<Alarm>::default();
    // The library assigns nothing without a group's name. It never joins it and never commits.
    let consumer = consumer(shared, &format!("{}.tail", shared.config.client_id), None, &alarm)?;
    consumer.assign(&list(topic, partitions.iter().copied().zip(starts.iter().copied()))?)?;
    let readings: BTreeMap<Partition, Reading> = partitions
        .into_iter()
        .zip(starts.iter().zip(ends))
        .map(|(at, (start, end))| {
            let start = match start {
                Place::Offset(offset) => Offset(u64::try_from(*offset).unwrap_or(0)),
                _ => Offset(0),
            };
            (at, Reading::new(0, start, *end))
        })
        .collect();
    let mut poller = Poller::new(Arc::clone(shared), consumer, topic.clone(), alarm, outbox, None);
    poller.readings = readings;
    start_polling(poller)
}

fn place(offset: Offset) -> Place {
    Place::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX))
}

fn consumer(
    shared: &Shared,
    group: &str,
    instance: Option<&str>,
    alarm: &Arc<Alarm>,
) -> Result<Arc<BaseConsumer<Listener>>, Cause> {
    let context = Listener::new(Arc::clone(&shared.status), group);
    let mut consumer: BaseConsumer<Listener> = shared.config.consumer(group, instance).create_with_context(context)?;
    let alarm = Arc::clone(alarm);
    consumer.set_nonempty_callback(move || alarm.ring());
    Ok(Arc::new(consumer))
}

fn start_polling(poller: Poller) -> Result<(), KafkaError> {
    let running = Running::new(&poller.shared.running);
    spawn("kafka-poll", move || {
        let _running = running;
        poller.run();
    })
    .map(drop)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, KafkaError> {
    thread::Builder::new().name(name.into()).spawn(work).map_err(KafkaError::Thread)
}

impl Running {
    fn new(count: &Arc<std::sync::atomic::AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}
