drop table sms_days;
