-- Run once, when the database's volume is new; the owner is the user monge.
CREATE DATABASE mlflow;
CREATE DATABASE prefect;
