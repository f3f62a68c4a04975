package longview.real;

import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.binary.api.IBinaryStorageSvc;
import ca.uhn.fhir.jpa.binary.svc.NullBinaryStorageSvcImpl;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirPostgresDialect;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.match.config.SubscriptionProcessorConfig;
import ca.uhn.fhir.jpa.subscription.match.deliver.email.IEmailSender;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import jakarta.persistence.EntityManagerFactory;
import java.net.InetSocketAddress;
import java.util.Map;
import java.util.Properties;
import javax.sql.DataSource;
import org.apache.commons.dbcp2.BasicDataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.hl7.fhir.utilities.http.ManagedWebAccess;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;

/** A HAPI FHIR R4 server on loopback, no login: for tests alone. Arguments: the port; the JDBC URL of a PostgreSQL database (default: H2 in memory). */
@Configuration
@Import({
  JpaR4Config.class, HapiJpaConfig.class, ThreadPoolFactoryConfig.class, JpaBatch2Config.class, Batch2JobsConfig.class,
  SubscriptionChannelConfig.class, SubscriptionSubmitterConfig.class, SubscriptionProcessorConfig.class
})
public class FhirServer {
  private static String databaseUrl = "jdbc:h2:mem:fhir;DB_CLOSE_DELAY=-1;USER=sa";

  public static void main(String[] arguments) throws Exception {
    if (arguments.length > 1) {
      databaseUrl = arguments[1];
    }
    ManagedWebAccess.setAccessPolicy(ManagedWebAccess.WebAccessPolicy.PROHIBITED); // never fetch packages
    var beans = new AnnotationConfigApplicationContext(FhirServer.class);
    var handler = new ServletContextHandler("/");
    handler.addServlet(new ServletHolder(beans.getBean(RestfulServer.class)), "/fhir/*");
    var server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
    server.setHandler(handler);
    server.setStopAtShutdown(true);
    server.start();
    server.join();
  }

  @Bean
  RestfulServer fhirServlet(
      FhirContext fhir, ResourceProviderFactory resources, JpaSystemProvider<?, ?> system, IFhirSystemDao<?, ?> dao,
      JpaStorageSettings settings, ISearchParamRegistry parameters, IValidationSupport validation,
      DatabaseBackedPagingProvider paging) {
    fhir.getParserOptions().setStripVersionsFromReferences(false); // Provenance cites versions
    paging.setMaximumPageSize(500);
    var servlet = new RestfulServer(fhir);
    servlet.registerProviders(resources.createProviders());
    servlet.registerProvider(system);
    servlet.setPagingProvider(paging);
    servlet.setServerConformanceProvider(
        new JpaCapabilityStatementProvider(servlet, dao, settings, parameters, validation));
    return servlet;
  }

  @Bean
  JpaStorageSettings storage() {
    var settings = new JpaStorageSettings();
    // as hospitals run it: the same search within a minute gets the old answer, unless it asks for a fresh one (Cache-Control: no-cache)
    settings.setReuseCachedSearchResultsForMillis(60_000L);
    settings.setEnforceReferentialIntegrityOnWrite(true);
    settings.setHibernateSearchIndexFullText(false);
    return settings;
  }

  @Bean
  SubscriptionSettings subscriptions() {
    return new SubscriptionSettings();
  }

  @Bean
  PartitionSettings partitions() {
    return new PartitionSettings();
  }

  @Bean
  IEmailSender noEmail() {
    return details -> {
      throw new UnsupportedOperationException("this server sends no e-mail");
    };
  }

  @Bean
  IBinaryStorageSvc noBinaries() {
    return new NullBinaryStorageSvcImpl();
  }

  @Bean(destroyMethod = "close")
  DataSource database() {
    var pool = new BasicDataSource();
    pool.setUrl(databaseUrl);
    return pool;
  }

  @Bean
  LocalContainerEntityManagerFactoryBean entityManagerFactory(
      ConfigurableListableBeanFactory beans, DataSource database, FhirContext fhir, JpaStorageSettings settings) {
    var factory = HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, fhir, settings);
    factory.setPersistenceUnitName("longview");
    factory.setDataSource(database);
    var properties = new Properties();
    properties.putAll(Map.of(
        "hibernate.dialect", (databaseUrl.startsWith("jdbc:h2:") ? HapiFhirH2Dialect.class : HapiFhirPostgresDialect.class).getName(),
        "hibernate.hbm2ddl.auto", "update",
        "hibernate.search.enabled", "false"));
    factory.setJpaProperties(properties);
    return factory;
  }

  @Bean
  JpaTransactionManager transactionManager(EntityManagerFactory factory) {
    return new JpaTransactionManager(factory);
  }
}
