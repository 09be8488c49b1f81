//! One file per command: its arguments and what it does. What several share is in `wiring`; nothing here decides
//! anything about flows, lanes or vendors.

pub(crate) mod adapter;
pub(crate) mod audit;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod engine;
pub(crate) mod flow;
pub(crate) mod journeys;
pub(crate) mod lane;
pub(crate) mod migrate;
mod opener;
mod operate;
pub(crate) mod publish;
pub(crate) mod review;
pub(crate) mod sandbox;
pub(crate) mod schemas;
mod service;
pub(crate) mod subject;
pub(crate) mod tail;
pub(crate) mod topics;
mod wiring;
